"""A model folder's backbone and head as arrays, with the runtime that computes on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from saelex.encoder.backbone.stored import StoredBackbone
from saelex.encoder.runtimes.arrays import ArrayRuntime, TokenStates
from saelex.encoder.runtimes.head import ArrayHead
from saelex.encoder.runtimes.runtime import Arithmetic, Runtime

if TYPE_CHECKING:
    from saelex.encoder.backbone.backbone import Backbone
    from saelex.encoder.head import LinearHead


class StoredModel:
    """What an encoder computes with that was loaded without torch. The runtime is made when it is first asked for.

    facts: the backbone's part of the fingerprint; head_digest: the head's.
    folder: where all of it lies. modules: reads the same files as torch's modules.

    `check` is called with the runtime when it is made, and raises MismatchError for one that computes something else.
    """

    def __init__(
        self,
        backbone: StoredBackbone,
        head: ArrayHead,
        *,
        facts: Mapping[str, Any],
        head_digest: str,
        arithmetic: Arithmetic,
        folder: Path,
        modules: Callable[[], tuple[Backbone, LinearHead]],
    ) -> None:
        self.backbone = backbone
        self.head = head
        self.facts = dict(facts)
        self.head_digest = head_digest
        self.arithmetic = arithmetic
        self.folder = folder
        self.modules = modules
        self.check: Callable[[Runtime], None] = lambda _: None
        self._made: Runtime | None = None
        self._lock = Lock()

    def runtime(self) -> Runtime:
        """What computes. Raises MismatchError where it gives other vectors than it should."""
        with self._lock:
            if self._made is None:
                runtime = ArrayRuntime(self._states(), self.head)
                self.check(runtime)
                self._made = runtime
            return self._made

    def _states(self) -> TokenStates:
        arithmetic, weights, shape = self.arithmetic, self.backbone.weights(), self.backbone.shape
        if arithmetic.runtime == "onnxruntime":
            from saelex.encoder.runtimes.onnxruntime import OnnxRuntimeBert

            return OnnxRuntimeBert(weights, shape, arithmetic)
        if arithmetic.runtime == "openvino":
            from saelex.encoder.runtimes.openvino import OpenVinoBert

            return OpenVinoBert(weights, shape, arithmetic)
        from saelex.encoder.runtimes.numpy import NumpyBert

        return NumpyBert(weights, shape)
