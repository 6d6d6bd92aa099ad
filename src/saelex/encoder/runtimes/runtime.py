"""What every runtime is: tokenised texts in, active latents out; its names, precisions and how exact they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, get_args

from saelex.encoder.tokens import TokenizedText
from saelex.errors import InputError
from saelex.vectors import SparseRows

RuntimeName = Literal["torch", "numpy", "onnxruntime", "openvino"]
RuntimeChoice = Literal["auto", "torch", "numpy", "onnxruntime", "openvino"]
Precision = Literal["float32", "bfloat16", "int8"]

PRECISIONS: dict[RuntimeName, tuple[Precision, ...]] = {
    "torch": ("float32", "bfloat16"),
    "numpy": ("float32",),
    "onnxruntime": ("float32", "int8"),
    "openvino": ("float32", "bfloat16"),
}
"""Of the backbone's products; the head's are float32 in all of them."""
TOLERANCES: dict[Precision, float] = {"float32": 0.999, "bfloat16": 0.97, "int8": 0.85}
"""The least cosine of a probe text's vector with that of the model folder, which float32 made."""


class Arithmetic(NamedTuple):
    """Which runtime computes, and in which precision."""

    runtime: RuntimeName
    precision: Precision = "float32"

    def __str__(self) -> str:
        return f"{self.runtime} in {self.precision}"


class Runtime(Protocol):
    """A backbone and a head, ready to compute. Threads may share it."""

    arithmetic: Arithmetic

    def rows(self, texts: Sequence[TokenizedText], sink_norm: float | None) -> SparseRows:
        """All active latents of every text of a batch, pooled, saturated and not weighted.

        texts: each with a token or more. sink_norm: as in `EncoderSettings`. Positions count the text's tokens.

        Raises InputError for states that are not finite.
        """


def check_arithmetic(runtime: str, precision: str | None) -> None:
    """Raises InputError for names that are none, and for a precision that a runtime has not."""
    if runtime not in get_args(RuntimeChoice):
        raise InputError(f"a runtime is one of {', '.join(get_args(RuntimeChoice))}, not {runtime!r:.60}")
    if precision is None:
        return
    if precision not in get_args(Precision):
        raise InputError(f"a precision is one of {', '.join(get_args(Precision))}, not {precision!r:.60}")
    able = [name for name, known in PRECISIONS.items() if precision in known]
    if runtime == "auto":
        if precision != "float32":
            raise InputError(f"precision {precision} belongs to a runtime; name one: {', '.join(able)}")
    elif runtime not in able:
        raise InputError(f"{runtime} has no {precision}; these have: {', '.join(able)}")
