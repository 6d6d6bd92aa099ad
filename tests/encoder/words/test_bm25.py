from __future__ import annotations

import bm25s
import numpy as np
import pytest

from saelex.encoder.words.bm25 import Bm25Statistics, check_bm25
from saelex.errors import InputError
from saelex.vectors import SparseRows

CORPUS = [
    ["wing", "lift", "wing", "flow"],
    ["flow", "boundary", "layer"],
    ["lift"],
    ["wing", "layer", "layer", "layer", "heat", "heat", "flow", "boundary"],
]
WORDS = sorted({word for document in CORPUS for word in document})


def counts(texts: list[list[str]]) -> SparseRows:
    return SparseRows.from_dicts([{WORDS.index(w): text.count(w) for w in text} for text in texts], len(WORDS))


@pytest.mark.parametrize(("k1", "b"), [(0.9, 0.4), (1.5, 0.75), (0.0, 0.5), (1.2, 0.0), (2.0, 1.0)])
def test_dot_product_of_the_two_halves_is_lucenes_bm25(k1: float, b: float) -> None:
    reference = bm25s.BM25(method="lucene", k1=k1, b=b)
    reference.index(CORPUS, show_progress=False)
    query = ["wing", "layer", "layer", "heat"]

    documents = counts(CORPUS)
    statistics = Bm25Statistics.count([documents[:3], documents[3:]])
    half_idf = np.sqrt(statistics.idf(documents.latents))
    left = counts([query])
    left = left.with_weights(left.weights * np.sqrt(statistics.idf(left.latents)))
    right = documents.with_weights(statistics.term_frequency(documents, k1, b) * half_idf)

    np.testing.assert_allclose(left.dot(right)[0], reference.get_scores(query), rtol=1e-5)


def test_counting_over_chunks_of_growing_width() -> None:
    narrow = SparseRows.from_dicts([{0: 2.0}, {}], 1)
    wide = SparseRows.from_dicts([{0: 1.0, 3: 1.0}], 4)
    statistics = Bm25Statistics.count([narrow, wide])
    assert statistics.document_frequencies.tolist() == [2, 0, 0, 1]
    assert (statistics.n_documents, statistics.mean_length) == (3, pytest.approx(4 / 3))


def test_an_unseen_column_has_the_idf_of_frequency_zero() -> None:
    statistics = Bm25Statistics(np.array([3, 0]), 10, 1.0)
    idf = statistics.idf(np.array([0, 1, 7]))
    np.testing.assert_allclose(idf, np.log(1 + np.array([7.5 / 3.5, 10.5 / 0.5, 10.5 / 0.5])))


def test_without_saturation_it_is_the_limit_of_large_k1() -> None:
    rows = SparseRows.from_dicts([{0: 0.5, 1: 2.0}, {1: 4.0}, {}], 2)
    statistics = Bm25Statistics.count([rows])
    k1 = 1e7
    limit = statistics.term_frequency(rows, k1, 0.6) * k1
    np.testing.assert_allclose(statistics.term_frequency(rows, None, 0.6), limit, rtol=1e-5)


def test_documents_that_are_all_empty_divide_by_nothing() -> None:
    statistics = Bm25Statistics.count([SparseRows.empty(3, rows=2)])
    rows = SparseRows.from_dicts([{1: 2.0}], 3)
    np.testing.assert_allclose(statistics.term_frequency(rows, 1.0, 0.75), [2 / 3])


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="at least one document"):
        Bm25Statistics.count([])
    with pytest.raises(InputError, match="k1"):
        check_bm25(-1.0, 0.5)
    with pytest.raises(InputError, match="b must lie"):
        check_bm25(1.0, 1.5)
