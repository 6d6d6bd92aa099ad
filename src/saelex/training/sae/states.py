"""From texts to the token states that an SAE is trained on, computed as they are asked for or kept in float16."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.batching import pack, windows
from saelex.errors import InputError
from saelex.files import replacing
from saelex.progress import progress_bar
from saelex.sae.training.buffer import ArrayStates, StateSource
from saelex.training.text_batches import TEXTS_PER_WINDOW, state_tokenizer, text_batches
from saelex.training.text_settings import TokenStates


class BackboneStates:
    """Token states of texts, computed as they are asked for: a StateSource over a corpus of any size.

    texts: called anew for each pass; gives the same texts in the same order. Masked tokens are left out, and sinks by
    the norm of the backbone's own states. transform: applied to the others' states, [tokens, d_model] -> the same.
    """

    def __init__(
        self,
        backbone: Backbone,
        texts: Callable[[], Iterable[str]],
        settings: TokenStates,
        transform: nn.Module | None = None,
    ) -> None:
        self.backbone = backbone
        self.texts = texts
        self.settings = settings
        self.transform = nn.Identity() if transform is None else transform
        self.d_model = backbone.d_model
        self._tokenizer = state_tokenizer(backbone, settings)

    def chunks(self, epoch: int, start: int, stride: int = 1) -> Iterator[Tensor]:
        """States [tokens, d_model] of 256 texts at a time; the order is the same in every pass."""
        for texts in islice(windows(iter(self.texts()), TEXTS_PER_WINDOW), start, None, stride):
            yield self._states(texts)

    @torch.no_grad()
    def _states(self, texts: list[str]) -> Tensor:
        parts = [torch.empty(0, self.d_model)]
        for _, batch in text_batches(self.backbone, self._tokenizer, texts, self.settings.token_budget):
            hidden = self.backbone(batch.input_ids, batch.attention_mask)  # [texts, length, d_model]
            kept = pack(hidden, batch.pooled, self.settings.sink_norm).hidden
            parts.append(self.transform(kept).float().cpu())
        return torch.cat(parts)


def cache_in_memory(source: StateSource, *, seed: int = 0, progress: bool = False) -> ArrayStates:
    """All states of one pass, as float16 in memory."""
    parts = [_half(chunk) for chunk in _counted(source, progress)]
    return ArrayStates(np.concatenate(parts) if parts else np.empty((0, source.d_model), np.float16), seed=seed)


def cache_on_disk(source: StateSource, path: Path, *, seed: int = 0, progress: bool = False) -> ArrayStates:
    """All states of one pass, as a float16 file that is memory-mapped; an existing file is used as it is.

    path: raw float16 [tokens, d_model] in C order; written beside its place and renamed once it is whole.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            for chunk in _counted(source, progress):
                file.write(_half(chunk).tobytes())
    tokens = path.stat().st_size // (2 * source.d_model)
    if not tokens:
        path.unlink()
        raise InputError("the texts gave no token states; check that the corpora hold text")
    return ArrayStates(np.memmap(path, np.float16, "r", shape=(tokens, source.d_model)), seed=seed)


def _counted(source: StateSource, progress: bool) -> Iterator[Tensor]:
    with progress_bar(desc="token states", unit="tok", unit_scale=True, shown=progress) as bar:
        for chunk in source.chunks(0, 0):
            yield chunk
            bar.update(len(chunk))


def _half(states: Tensor) -> np.ndarray[Any, np.dtype[np.float16]]:
    half = states.half()
    if not bool(torch.isfinite(half).all()):
        raise InputError(
            "token states exceed float16's range (sink tokens?); set states.cache to none or states.sink_norm"
        )
    return half.numpy()
