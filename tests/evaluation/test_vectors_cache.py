from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.encoder.tiny_encoders import tiny_encoder
from tests.encoder.tiny_models import TEXTS

from saelex.corpus.documents import Run
from saelex.encoder.encoder import Encoder
from saelex.errors import InputError
from saelex.evaluation.vectors_cache import VectorsCache


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    return tiny_encoder(tmp_path / "bert")


def _count_encodings(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    encode, sides = encoder.encode, list[str]()

    def counted(*arguments: object, side: str, **options: object) -> object:
        sides.append(side)
        return encode(*arguments, side=side, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(encoder, "encode", counted)
    return sides


def test_vectors_are_kept_whole_and_encoded_once(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = _count_encodings(encoder, monkeypatch)
    cache = VectorsCache(tmp_path / "cache")
    first = cache.rows(encoder, TEXTS, "document")
    wanted = encoder.encode_document(TEXTS, top_k=None)
    encoded.clear()
    again = VectorsCache(tmp_path / "cache").rows(encoder, TEXTS, "document")
    assert encoded == []
    for rows in (first, again):
        np.testing.assert_array_equal(rows.to_dense(), wanted.to_dense())
        assert rows.positions is None
    assert (again.lengths > 20).any()  # more than the encoder's own Top-K
    np.testing.assert_array_equal(again.top_k(5).to_dense(), encoder.encode_document(TEXTS, top_k=5).to_dense())


def test_what_changes_vectors_is_encoded_again_and_nothing_else(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = _count_encodings(encoder, monkeypatch)
    cache = VectorsCache(tmp_path / "cache")
    cache.rows(encoder, TEXTS, "document")
    encoder.settings = replace(encoder.settings, document_top_k=3, word_scale=9.0)
    cache.rows(encoder, TEXTS, "document")
    assert encoded == ["document"]
    cache.rows(encoder, TEXTS, "query")
    joined = [TEXTS[0] + TEXTS[1], *TEXTS[2:]]  # the same characters, cut elsewhere
    cache.rows(encoder, joined, "document")
    assert encoded == ["document", "query", "document"]
    with torch.no_grad():
        encoder.head.bias.add_(0.1)
    changed = cache.rows(encoder, TEXTS, "document")
    assert len(encoded) == 4
    np.testing.assert_array_equal(changed.to_dense(), encoder.encode_document(TEXTS, top_k=None).to_dense())


def test_runs(tmp_path: Path) -> None:
    made: list[int] = []

    def compute() -> dict[str, Run]:
        made.append(1)
        return {"bm25": {"q": {"b": 2.5, "a": 1 / 3}}}

    cache = VectorsCache(tmp_path / "cache")
    for _ in range(2):
        assert cache.runs(["k1", 0.9], ["text"], compute) == {"bm25": {"q": {"b": 2.5, "a": 1 / 3}}}
    assert len(made) == 1
    cache.runs(["k1", 1.2], ["text"], compute)
    cache.runs(["k1", 0.9], ["te", "xt"], compute)
    assert len(made) == 3


def test_embeddings(tmp_path: Path) -> None:
    made: list[list[str]] = []

    def compute(texts: Sequence[str]) -> NDArray[np.float32]:
        made.append(list(texts))
        return np.array([[len(text), 1 / 3] for text in texts], np.float32)

    cache = VectorsCache(tmp_path / "cache")
    for _ in range(2):
        np.testing.assert_array_equal(cache.embeddings(["dense"], TEXTS, compute), compute(TEXTS))
        made.pop()
    assert made == [list(TEXTS)]
    cache.embeddings(["another"], TEXTS, compute)
    cache.embeddings(["dense"], TEXTS[1:], compute)
    assert len(made) == 3


def test_a_damaged_entry_is_named(encoder: Encoder, tmp_path: Path) -> None:
    cache = VectorsCache(tmp_path / "cache")
    cache.rows(encoder, TEXTS, "document")
    (entry,) = (tmp_path / "cache" / "vectors").iterdir()
    (entry / "latents.npy").unlink()
    with pytest.raises(InputError, match=rf"{entry.name}: a damaged entry of the cache; delete it"):
        cache.rows(encoder, TEXTS, "document")
    cache.runs([], [], lambda: {"bm25": {"q": {"a": 1.0}}})
    (entry,) = (tmp_path / "cache" / "runs").iterdir()
    entry.write_text('{"bm25": {"q"')
    with pytest.raises(InputError, match=rf"{entry.name}: a damaged entry of the cache; delete it"):
        cache.runs([], [], dict)
    cache.embeddings([], TEXTS, lambda texts: np.ones((len(texts), 2), np.float32))
    (entry,) = (tmp_path / "cache" / "embeddings").iterdir()
    entry.write_bytes(entry.read_bytes()[:-1])
    with pytest.raises(InputError, match=rf"{entry.name}: a damaged entry of the cache; delete it"):
        cache.embeddings([], TEXTS, lambda texts: np.ones((len(texts), 2), np.float32))


def test_a_folder_that_cannot_be_costs_no_encoding(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = _count_encodings(encoder, monkeypatch)
    (tmp_path / "file").write_text("")
    cache = VectorsCache(tmp_path / "file" / "cache")
    with pytest.raises(InputError, match="vectors: cannot be made for the cache"):
        cache.rows(encoder, TEXTS, "document")
    with pytest.raises(InputError, match="runs: cannot be made for the cache"):
        cache.runs([], [], lambda: encoded.append("run") or {})
    assert encoded == []


def test_the_folder_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAELEX_CACHE", str(tmp_path))
    assert VectorsCache().folder == tmp_path / "evaluation"
