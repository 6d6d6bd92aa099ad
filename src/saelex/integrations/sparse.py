"""An encoder's vectors as the lists of latents and weights that vector stores take."""

from __future__ import annotations

from threading import Lock

from saelex.encoder.encoder import Encoder
from saelex.index.text_encoder import TextEncoder
from saelex.vectors import SparseRows

DEFAULT_ENCODER = "saelex-minilm"


class LazyEncoder:
    """An encoder that is there, or one by the name that `Encoder.load` takes, loaded when it is first asked for."""

    def __init__(self, encoder: TextEncoder | str) -> None:
        self._encoder = encoder
        self._loading = Lock()  # of several threads that ask first, one loads it

    @property
    def name(self) -> str:
        """What `Encoder.load` takes."""
        return self._encoder if isinstance(self._encoder, str) else self._encoder.name

    def get(self) -> TextEncoder:
        """The encoder. Raises what `Encoder.load` does."""
        with self._loading:
            if isinstance(self._encoder, str):
                self._encoder = Encoder.load(self._encoder)
            return self._encoder


def as_lists(rows: SparseRows) -> list[tuple[list[int], list[float]]]:
    """Latents and weights, row by row."""
    return [(latents.tolist(), weights.tolist()) for latents, weights in rows]
