"""An encoder's vectors as the lists of latents and weights that vector stores take."""

from __future__ import annotations

from saelex.encoder.encoder import Encoder
from saelex.index.text_encoder import TextEncoder
from saelex.vectors import SparseRows

DEFAULT_ENCODER = "saelex-minilm"


def loaded(encoder: TextEncoder | str) -> TextEncoder:
    """The encoder, by its name or as it is. Raises what `Encoder.load` does."""
    return Encoder.load(encoder) if isinstance(encoder, str) else encoder


def as_lists(rows: SparseRows) -> list[tuple[list[int], list[float]]]:
    """Latents and weights, row by row."""
    return [(latents.tolist(), weights.tolist()) for latents, weights in rows]
