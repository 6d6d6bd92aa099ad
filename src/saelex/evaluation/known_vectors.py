"""Vectors that are there already, in the place where an index expects an encoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from saelex.encoder.encoder import Encoder
from saelex.encoder.settings import Side
from saelex.evaluation.encoded import JudgedDocuments
from saelex.evaluation.vectors_cache import VectorsCache
from saelex.vectors import SparseRows


class KnownVectors:
    """An encoder with the vectors of one collection at hand: its texts are looked up, any other text is encoded.

    To an index it is the encoder itself (see `saelex.index.text_encoder.TextEncoder`): same name, same fingerprint,
    same vectors at the Top-K of the encoder's settings. Vectors that were looked up have no token positions.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._known: dict[Side, tuple[dict[str, int], SparseRows]] = {}

    @classmethod
    def of(
        cls, encoder: Encoder, judged: JudgedDocuments, cache: VectorsCache, *, progress: bool = False
    ) -> KnownVectors:
        """The passages and queries of a collection, from the cache or, once, from the encoder."""
        known = cls(encoder)
        known.take("document", chain.from_iterable(judged.passages(encoder)), cache, progress=progress)
        known.take("query", judged.questions, cache, progress=progress)
        return known

    def take(self, side: Side, texts: Iterable[str], cache: VectorsCache, *, progress: bool = False) -> None:
        """Have the vectors of these texts at hand."""
        listed = list(texts)
        rows = cache.rows(self.encoder, listed, side, progress=progress)
        self._known[side] = {text: i for i, text in enumerate(listed)}, rows

    def encode_query(self, texts: str | Sequence[str]) -> SparseRows:
        """Query vectors, as the encoder's."""
        return self._vectors(texts, "query")

    def encode_document(self, texts: str | Sequence[str]) -> SparseRows:
        """Document vectors, as the encoder's."""
        return self._vectors(texts, "document")

    def _vectors(self, texts: str | Sequence[str], side: Side) -> SparseRows:
        asked = [texts] if isinstance(texts, str) else list(texts)
        if side not in self._known:
            return self.encoder.encode(asked, side=side)
        row_of, rows = self._known[side]
        if any(text not in row_of for text in asked):
            return self.encoder.encode(asked, side=side)
        return rows[np.array([row_of[text] for text in asked], np.int64)].top_k(self.settings.top_k(side))

    # ---- what is the encoder's own ----------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The encoder's."""
        return self.encoder.name

    @property
    def n_latents(self) -> int:
        """The encoder's."""
        return self.encoder.n_latents

    @property
    def fingerprint(self) -> str:
        """The encoder's."""
        return self.encoder.fingerprint

    @property
    def settings(self) -> Any:
        """The encoder's."""
        return self.encoder.settings

    @property
    def tokenizer(self) -> Any:
        """The encoder's."""
        return self.encoder.tokenizer

    def token_spans(self, text: str, side: Side) -> list[tuple[int, int]]:
        """The encoder's."""
        return self.encoder.token_spans(text, side)

    def label(self, latent: int) -> str:
        """The encoder's."""
        return self.encoder.label(latent)
