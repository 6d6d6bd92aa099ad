from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.encoder.tiny_encoders import tiny_encoder
from tests.encoder.tiny_models import TEXTS

from saelex.encoder.encoder import Encoder
from saelex.evaluation.known_vectors import KnownVectors
from saelex.evaluation.vectors_cache import VectorsCache


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    return tiny_encoder(tmp_path / "bert")


def test_known_texts_are_looked_up_and_others_encoded(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, cache = KnownVectors(encoder), VectorsCache(tmp_path / "cache")
    documents = encoder.encode_document(TEXTS[:4])
    queries, other = encoder.encode_query(TEXTS[:2]), encoder.encode_document(TEXTS[5])
    known.take("document", TEXTS[:4], cache)
    known.take("query", iter(TEXTS[:2]), cache)
    np.testing.assert_array_equal(known.encode_document([TEXTS[5], TEXTS[0]])[0].to_dense(), other.to_dense())
    monkeypatch.setattr(encoder, "encode", None)
    # any order, repeated, at the encoder's Top-K
    found = known.encode_document([TEXTS[i] for i in (3, 0, 3)])
    np.testing.assert_array_equal(found.to_dense(), documents[[3, 0, 3]].to_dense())
    assert found.lengths.max() == 20
    np.testing.assert_array_equal(known.encode_query(TEXTS[1]).to_dense(), queries[1].to_dense())
    assert len(known.encode_document([])) == 0


def test_it_passes_for_the_encoder(encoder: Encoder) -> None:
    known = KnownVectors(encoder)
    for name in ("name", "n_latents", "fingerprint", "settings", "tokenizer"):
        assert getattr(known, name) == getattr(encoder, name)
    assert known.label(3) == encoder.label(3)
    assert known.token_spans(TEXTS[0], "query") == encoder.token_spans(TEXTS[0], "query")
