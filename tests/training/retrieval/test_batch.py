"""Batches: texts back in their order, passages with their query, keys and scores."""

import numpy as np
import pytest
import torch
from tests.encoder.tiny_models import tiny_checkpoint
from tests.training.retrieval.toys import examples, learning_encoder

from saelex.errors import InputError
from saelex.training.examples.example import Example
from saelex.training.retrieval.batch import Collator, text_key
from saelex.training.retrieval.model import RetrievalModel
from saelex.training.retrieval.words import WordScores


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return learning_encoder(tiny_checkpoint("bert", tmp_path_factory.mktemp("model")))


def collator(encoder, n_chunks=1, needs_scores=True, words=None):
    return Collator(
        encoder.tokenizer, encoder.backbone.pad_id, n_chunks=n_chunks, needs_scores=needs_scores, words=words
    )


@pytest.mark.parametrize("n_chunks", [1, 3, 20])
def test_vectors_are_the_encoders_own_in_the_examples_order(encoder, n_chunks):
    made = examples()
    batch = collator(encoder, n_chunks)(made)
    model = RetrievalModel(encoder).eval()
    with torch.no_grad():
        vectors = [model(chunk)[:2] for chunk in batch.chunks]
        queries, passages = (torch.cat(side) for side in zip(*vectors))
    texts = [text for one in made for text in one.passages]
    expected = encoder.encode_query([one.query for one in made], top_k=None).to_dense()
    np.testing.assert_allclose(queries.numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(passages.numpy(), encoder.encode_document(texts, top_k=None).to_dense(), atol=1e-6)
    assert len(batch.chunks) == min(n_chunks, len(made))


def test_long_and_short_texts_are_padded_apart(encoder, monkeypatch):
    monkeypatch.setattr("saelex.training.retrieval.batch.PADDED_TOKENS", 32)
    made = [Example("wing", ("flow " * n, "heat", ""), (2.0, 1.0, 0.0), frozenset()) for n in (1, 3, 5)]
    batch = collator(encoder)(made)
    parts = batch.chunks[0].passages.parts
    assert len(parts) > 2 and max(part.input_ids.numel() for part in parts) <= 32
    with torch.no_grad():
        passages = RetrievalModel(encoder).eval()(batch.chunks[0]).passages
    texts = [text for one in made for text in one.passages]
    np.testing.assert_allclose(passages.numpy(), encoder.encode_document(texts, top_k=None).to_dense(), atol=1e-6)
    assert not passages[2].any()  # a blank text


def test_columns_lead_to_a_querys_own_passages(encoder):
    made = examples()
    batch = collator(encoder)(made)
    texts = [text for one in made for text in one.passages]
    for i, one in enumerate(made):
        own = [texts[column] for column, there in zip(batch.columns[i], batch.mask[i]) if there]
        assert own == list(one.passages)
        assert batch.teacher[i][batch.mask[i]].tolist() == pytest.approx(one.scores)
    assert batch.mask.sum() == len(texts) == 8 * 4 - 1


def test_equal_texts_share_a_key(encoder):
    made = [
        Example("a", ("wing", "flow"), None, frozenset({"wing", "jet"})),
        Example("b", ("flow",), None, frozenset()),
    ]
    batch = collator(encoder, needs_scores=False)(made)
    assert batch.keys[1] == batch.keys[2] != batch.keys[0]
    assert set(batch.relevant[0].tolist()) == {text_key("wing"), text_key("jet")}
    assert batch.relevant[1].tolist() == [0, 0] and batch.teacher is None


def test_a_missing_score_is_told(encoder):
    with pytest.raises(InputError, match=r"no scores|has none.*saelex score"):
        collator(encoder)([Example("what is lift", ("wing",), None, frozenset())])


def test_words_score_as_bm25_does(encoder):
    texts = ["the wing flow", "heat of the plate", "plate and plate and shock", "the jet"]
    scores = WordScores([*texts, texts[0]], scale=2.0)(["plate shock", "nothing"], texts[1:3])
    lengths = np.array([2, 2, 3, 1])  # stop words do not count

    def bm25(tf, df, length):
        idf = np.log1p((4 - df + 0.5) / (df + 0.5))
        return idf * tf / (tf + 0.9 * (0.6 + 0.4 * length / lengths.mean()))

    expected = [[2 * bm25(1, 2, 2), 2 * (bm25(2, 2, 3) + bm25(1, 1, 3))], [0, 0]]
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize(("language", "tf"), [("de", 1), ("en", 0), ("none", 0)])
def test_words_score_in_their_own_language(language, tf):
    scores = WordScores(["die Häuser"], scale=1.0, language=language)(["Haus"], ["die Häuser"])
    assert scores.item() == pytest.approx(np.log1p((1 - 1 + 0.5) / (1 + 0.5)) * tf / (tf + 0.9))


def test_weighting_trains_with_the_weights_that_search_uses(encoder, tmp_path):
    from saelex.encoder.encoder import Encoder
    from saelex.encoder.weighting import LatentWeighting, WeightingSettings

    made = examples()
    texts = [text for one in made for text in one.passages]
    for settings in (WeightingSettings(k1=0.9, b=0.4, max_df=0.9), WeightingSettings(k1=None, b=1.0, query_k1=2.0)):
        weighting = LatentWeighting.fit([encoder.encode_document(texts, top_k=None)], settings)
        weighted = Encoder(encoder.backbone, encoder.head, encoder.settings, weighting=weighting)
        with torch.no_grad():
            queries, passages = RetrievalModel(weighted).eval()(collator(weighted)(made).chunks[0])[:2]
        expected = weighted.encode_query([one.query for one in made], top_k=None).to_dense()
        np.testing.assert_allclose(queries.numpy(), expected, rtol=1e-4, atol=1e-5)
        expected = weighted.encode_document(texts, top_k=None).to_dense()
        np.testing.assert_allclose(passages.numpy(), expected, rtol=1e-4, atol=1e-5)
