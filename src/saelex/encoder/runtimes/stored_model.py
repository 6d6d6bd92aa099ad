"""A model folder's backbone and head as arrays, with the runtimes that compute on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from saelex.encoder.backbone.stored import BertWeights, StoredBackbone
from saelex.encoder.runtimes.arrays import ArrayRuntime, TokenStates
from saelex.encoder.runtimes.head import ArrayHead
from saelex.encoder.runtimes.runtime import Arithmetic, Runtime
from saelex.encoder.settings import Side

if TYPE_CHECKING:
    from saelex.encoder.backbone.backbone import Backbone
    from saelex.encoder.head import LinearHead


class StoredModel:
    """What an encoder computes with that was loaded without torch. Runtimes are made when they are first asked for.

    facts: the backbone's part of the fingerprint; head_digest: the head's.
    sides: which arithmetic each side takes.
    folder: where all of it lies. modules: reads the same files as torch's modules.

    `check` is called with every runtime that is made, and raises MismatchError for one that computes something else.
    """

    def __init__(
        self,
        backbone: StoredBackbone,
        head: ArrayHead,
        *,
        facts: Mapping[str, Any],
        head_digest: str,
        sides: Mapping[Side, Arithmetic],
        folder: Path,
        modules: Callable[[], tuple[Backbone, LinearHead]],
    ) -> None:
        self.backbone = backbone
        self.head = head
        self.facts = dict(facts)
        self.head_digest = head_digest
        self.sides = sides
        self.folder = folder
        self.modules = modules
        self.check: Callable[[Runtime], None] = lambda _: None
        self._made: dict[Arithmetic, Runtime] = {}
        self._lock = Lock()

    def runtime(self, side: Side) -> Runtime:
        """The one that computes this side. Raises MismatchError where it gives other vectors than it should."""
        arithmetic = self.sides[side]
        with self._lock:
            if arithmetic not in self._made:
                runtime = ArrayRuntime(self._states(arithmetic), self.head)
                self.check(runtime)
                self._made[arithmetic] = runtime
            return self._made[arithmetic]

    @cached_property
    def _weights(self) -> BertWeights:
        return self.backbone.weights()

    def _states(self, arithmetic: Arithmetic) -> TokenStates:
        if arithmetic.runtime == "onnxruntime":
            from saelex.encoder.runtimes.onnxruntime import OnnxRuntimeBert

            return OnnxRuntimeBert(self._weights, self.backbone.shape, arithmetic)
        if arithmetic.runtime == "openvino":
            from saelex.encoder.runtimes.openvino import OpenVinoBert

            return OpenVinoBert(self._weights, self.backbone.shape, arithmetic)
        from saelex.encoder.runtimes.numpy import NumpyBert

        return NumpyBert(self._weights, self.backbone.shape)
