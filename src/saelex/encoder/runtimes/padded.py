"""What runtimes of padded batches share: packed tokens to a batch and back, and how many threads they take."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.backbone.bert_settings import BertSettings
from saelex.encoder.backbone.stored import BertWeights
from saelex.encoder.runtimes.numpy import embedded
from saelex.encoder.runtimes.runtime import Arithmetic

Array = NDArray[np.float32]

_MASKED = np.float32(-1e9)  # added to a score, makes its share of attention 0


class PaddedBert(ABC):
    """See `TokenStates`: embeddings are looked up here, the blocks are `_run`'s."""

    def __init__(self, weights: BertWeights, shape: BertSettings, arithmetic: Arithmetic) -> None:
        self.arithmetic = arithmetic
        self._shape = shape
        # the blocks' numbers are the runtime's own from here on
        self._embeddings = weights._replace(blocks=())

    def states(self, ids: Sequence[NDArray[np.int64]]) -> Array:
        """See `TokenStates.states`."""
        lengths = np.array([len(text) for text in ids])
        real = np.arange(lengths.max()) < lengths[:, None]  # [texts, length]
        batch = np.zeros((*real.shape, self._shape.hidden_size), np.float32)
        batch[real] = embedded(self._embeddings, self._shape, ids)
        mask = np.where(real, np.float32(0), _MASKED)[:, None, None, :]
        return self._run(batch, mask)[real]

    @abstractmethod
    def _run(self, batch: Array, mask: Array) -> Array:
        """Hidden states [texts, length, d_model]; see `onnx_graph.INPUTS`."""


def threads() -> int:
    """As many as there are cores for this process, or OMP_NUM_THREADS where that is set."""
    given = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if given.isdecimal() and int(given):
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
