"""A small encoder without a model: every word fires two latents, chosen by its hash. Deterministic and quick."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from saelex.corpus.documents import Document
from saelex.vectors import SparseRows

_WORD = re.compile(r"\w+|[^\w\s]")


class FakeTokenizer:
    """The part of tokenizers.Tokenizer that splitting needs; words and punctuation are the tokens."""

    def encode(self, text: str, add_special_tokens: bool) -> SimpleNamespace:
        assert not add_special_tokens
        return SimpleNamespace(offsets=[match.span() for match in _WORD.finditer(text)])

    def num_special_tokens_to_add(self, is_pair: bool) -> int:
        return 2

    def no_truncation(self) -> None:
        pass


class FakeEncoder:
    """Has what the index wants of an Encoder."""

    def __init__(self, n_latents: int = 8192, seed: int = 0, max_document_length: int | None = 66) -> None:
        self.n_latents = n_latents
        self.seed = seed
        self.name = f"fake-{n_latents}-{seed}"
        self.fingerprint = hashlib.sha256(self.name.encode()).hexdigest()
        self.settings = SimpleNamespace(
            document_prompt="", max_document_length=max_document_length, word_scale=1.0, word_language="en"
        )
        self.tokenizer = SimpleNamespace(tokenizer=FakeTokenizer(), limit=1000)
        self.encoded = 0  # texts so far

    def encode_query(self, texts: str | Sequence[str]) -> SparseRows:
        return self._encode(texts)

    def encode_document(self, texts: str | Sequence[str]) -> SparseRows:
        return self._encode(texts)

    def token_spans(self, text: str, side: str) -> list[tuple[int, int]]:
        return [(0, 0), *(match.span() for match in _WORD.finditer(text)), (0, 0)]

    def label(self, latent: int) -> str:
        return f"latent {latent}"

    def neighbours(self, latent: int, n: int) -> list[tuple[int, float]]:
        return [((latent + step) % self.n_latents, 1 / (1 + step)) for step in range(1, n + 1)]

    def _encode(self, texts: str | Sequence[str]) -> SparseRows:
        chosen = [texts] if isinstance(texts, str) else texts
        self.encoded += len(chosen)
        return SparseRows.concatenate(list(map(self._row, chosen))) if chosen else SparseRows.empty(self.n_latents)

    def _row(self, text: str) -> SparseRows:
        """Weight of a latent: the largest over the words; position: the first word that has it."""
        best: dict[int, tuple[float, int]] = {}
        for token, match in enumerate(_WORD.finditer(text.lower()), start=1):
            for salt in (0, 1):
                word = f"{self.seed} {salt} {match.group()}".encode()
                value = int.from_bytes(hashlib.blake2b(word, digest_size=6).digest(), "big")
                latent, weight = value % self.n_latents, 0.1 + (value >> 32) % 1000 / 400
                if weight > best.get(latent, (0.0, 0))[0]:
                    best[latent] = weight, token
        latents = sorted(best)
        return SparseRows(
            np.array([0, len(latents)], np.int64),
            np.array(latents, np.int32),
            np.array([best[latent][0] for latent in latents], np.float32),
            self.n_latents,
            np.array([best[latent][1] for latent in latents], np.int32),
        )


_NOUNS = ["wing", "lift", "drag", "river", "bank", "flood", "archive", "zip", "loan", "money", "storm", "canoe", "sail"]


class WaitingEncoder(FakeEncoder):
    """Encodes a query only when it is told to, and fails where nobody does in so many seconds."""

    def __init__(self, patience: float) -> None:
        super().__init__()
        self.told = threading.Event()
        self._patience = patience

    def encode_query(self, texts: str | Sequence[str]) -> SparseRows:
        assert self.told.wait(self._patience)
        return super().encode_query(texts)


def make_documents(n: int, start: int = 0, seed: int = 0) -> list[Document]:
    """Short documents over a small vocabulary; each also has a word of its own, `only<number>`."""
    generator = np.random.default_rng([seed, start])
    documents = []
    for i in range(start, start + n):
        words = generator.choice(_NOUNS, size=int(generator.integers(4, 12)))
        text = f"only{i} {' '.join(words)}."
        documents.append(
            Document(f"d{i}", text, f"Title {i % 7}", {"lang": "en" if i % 2 else "de", "year": 1990 + i % 30})
        )
    return documents


def random_rows(n_rows: int, n_latents: int, per_row: int, seed: int, positions: bool = False) -> SparseRows:
    """Rows with up to `per_row` non-zeros of weight 0.05..3."""
    generator = np.random.default_rng(seed)
    dense = np.zeros((n_rows, n_latents), np.float32)
    for row in dense:
        chosen = generator.choice(n_latents, size=int(generator.integers(0, per_row + 1)), replace=False)
        row[chosen] = generator.uniform(0.05, 3.0, len(chosen))
    where = generator.integers(-1, 300, dense.shape) if positions else None
    return SparseRows.from_dense(dense, where)
