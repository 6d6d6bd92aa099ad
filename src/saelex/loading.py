"""How a model is loaded: on which device, in which dtype, and which of its versions the hub is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict

from saelex.errors import InputError

if TYPE_CHECKING:
    import torch


class LoadingOptions(TypedDict, total=False):
    """The keywords that every public `load` takes; `Loading` says what they mean."""

    device: torch.device | str | None
    dtype: torch.dtype | str | None
    revision: str | None
    token: str | bool | None


@dataclass(frozen=True)
class Loading:
    """What `load` is told besides the model's name, handed down to whatever reads or fetches a part of it.

    device: where to compute; None is the CPU, but for `Encoder.load`, which takes a GPU where there is one.
    dtype: of the weights, as torch has it or by its name ("bfloat16"); None keeps the files' own.
    revision: branch, tag or commit on the Hugging Face hub; None is its newest. token: the hub's; None takes the one
        that `hf auth login` or HF_TOKEN left. A model in a folder needs neither.
    """

    device: torch.device | str | None = None
    dtype: torch.dtype | str | None = None
    revision: str | None = None
    token: str | bool | None = None

    @property
    def place(self) -> torch.device | str:
        """The device, the CPU where none is named."""
        return self.device or "cpu"

    @property
    def torch_dtype(self) -> torch.dtype | None:
        """The dtype itself. Raises InputError for a name that is no floating dtype's."""
        import torch

        if self.dtype is None or isinstance(self.dtype, torch.dtype):
            return self.dtype
        named = getattr(torch, self.dtype, None)
        if not isinstance(named, torch.dtype) or not named.is_floating_point:
            raise InputError(f"unknown dtype {self.dtype!r}; use float32, bfloat16 or float16")
        return named

    @property
    def hub(self) -> dict[str, Any]:
        """Revision and token, as huggingface_hub's downloads take them."""
        return {"revision": self.revision, "token": self.token}

    @property
    def pretrained(self) -> dict[str, Any]:
        """The same as transformers' `from_pretrained` takes them, with code of the model's own refused, unasked."""
        return self.hub | {"trust_remote_code": False}

    def on_best_device(self) -> Loading:
        """The same on a GPU where there is one, unless a device is named."""
        if self.device:
            return self
        import torch

        return self if self.device else replace(self, device="cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def without_own_code(model: str) -> Iterator[None]:
    """Around a loader of transformers or sentence-transformers that was told `trust_remote_code=False`.

    Raises InputError where the model cannot be loaded without running code that comes with it.
    """
    try:
        yield
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise InputError(
            f"{model} is loaded by code of its own, which saelex never runs; give another model"
        ) from error
