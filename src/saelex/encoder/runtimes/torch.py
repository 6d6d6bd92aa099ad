"""torch: the runtime of training, of GPUs and of every model; its modules are the encoder's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from saelex.encoder.batching import pack, pad, unpack_positions
from saelex.encoder.pooling import pool_rows
from saelex.encoder.runtimes.runtime import Arithmetic
from saelex.encoder.tokens import TokenizedText
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    from saelex.encoder.backbone.backbone import Backbone
    from saelex.encoder.head import LinearHead


class TorchRuntime:
    """See `Runtime`. Padded batches, on the device and in the dtype of the modules."""

    def __init__(self, backbone: Backbone, head: LinearHead) -> None:
        self.arithmetic = Arithmetic("torch", "bfloat16" if backbone.dtype == torch.bfloat16 else "float32")
        self._backbone = backbone
        self._head = head

    @torch.inference_mode()
    def rows(self, texts: Sequence[TokenizedText], sink_norm: float | None) -> SparseRows:
        """See `Runtime.rows`."""
        batch = pad(texts, self._backbone.pad_id, self._head.weight.device)
        with evaluating(self._backbone, self._head):
            hidden = self._backbone(batch.input_ids, batch.attention_mask)  # [texts, length, d_model]
            packed = pack(hidden, batch.pooled, sink_norm)
            return unpack_positions(pool_rows(packed.hidden, packed.offsets, self._head), packed)


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Without dropout, also in the middle of training."""
    training = [part for module in modules for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
