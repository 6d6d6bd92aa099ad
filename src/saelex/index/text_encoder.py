"""What the index wants of an encoder; `saelex.encoder.encoder.Encoder` has it all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from saelex.vectors import SparseRows


class TextEncoder(Protocol):
    """Text in, sparse vectors out, with what explanations and the splitting of long documents need beside."""

    @property
    def name(self) -> str:
        """What `Encoder.load` takes to give this encoder again."""

    @property
    def n_latents(self) -> int:
        """Columns of its vectors."""

    @property
    def fingerprint(self) -> str:
        """Equal for encoders that give equal vectors."""

    @property
    def settings(self) -> Any:
        """Of these `document_prompt`, `max_document_length`, `word_scale` and `word_language` are read."""

    @property
    def tokenizer(self) -> Any:
        """A `saelex.encoder.tokens.TextTokenizer`."""

    def encode_query(self, texts: str | Sequence[str]) -> SparseRows:
        """Query vectors, positions included."""

    def encode_document(self, texts: str | Sequence[str]) -> SparseRows:
        """Document vectors, positions included."""

    def token_spans(self, text: str, side: Literal["query", "document"]) -> list[tuple[int, int]]:
        """Characters of every token that a position may name."""

    def label(self, latent: int) -> str:
        """What the encoder itself knows of a latent, or its number: used where the index has no labels of its own."""

    def neighbours(self, latent: int, n: int) -> list[tuple[int, float]]:
        """The n latents whose directions are nearest to that of this one, with the cosines, nearest first."""
