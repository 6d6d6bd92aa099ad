"""Integers for weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from saelex.errors import InputError
from saelex.index.quantise import NO_POSITION, Quantiser, token_positions
from saelex.vectors import SparseRows

weights = arrays(np.float32, st.integers(1, 60), elements=st.floats(-50, 50, width=32))


@settings(max_examples=100, deadline=None)
@given(weights, st.sampled_from([8, 16]))
def test_no_sum_overflows_and_every_weight_is_within_half_a_step(values: np.ndarray, bits: int) -> None:
    quantiser = Quantiser(0.01, bits)
    query = quantiser.query(np.arange(len(values), dtype=np.int32), values)
    assert int(np.abs(query.weights.astype(np.int64)).sum()) * quantiser.top <= 2**31 - 1
    restored = np.zeros(len(values))
    restored[query.latents] = query.weights * query.step
    assert np.all(np.abs(restored - values) <= query.step / 2 * (1 + 1e-6))
    assert query.step <= np.abs(values).max() / 100 or not np.abs(values).max()


def test_documents_round_drop_zeros_and_keep_positions() -> None:
    rows = SparseRows.build([0, 3, 3, 5], [1, 4, 7, 0, 4], [1.0, 0.004, 0.5, 2.55, 0.016], 9, [0, 1, -1, 70000, 65535])
    stored = Quantiser(0.01, 8).documents(rows)
    assert stored.indptr.tolist() == [0, 2, 2, 4]
    assert stored.latents.tolist() == [1, 7, 0, 4]
    assert stored.weights.tolist() == [100, 50, 255, 2] and stored.weights.dtype == np.uint8
    assert stored.positions is not None
    assert stored.positions.tolist() == [0, NO_POSITION, NO_POSITION, NO_POSITION]
    assert token_positions(stored.positions).tolist() == [0, -1, -1, -1]


def test_the_first_weights_set_the_step() -> None:
    heaviest = np.array([0.3, 2.0], np.float32)
    assert Quantiser.for_weights(heaviest, 8).step * 255 == pytest.approx(2.0)
    assert Quantiser.for_weights(heaviest, 16).step * 65535 == pytest.approx(8.0)  # room for later ones
    assert Quantiser.for_weights(heaviest[:0], 16).step > 0


def test_what_cannot_be_a_weight_is_refused() -> None:
    with pytest.raises(InputError, match="query vector"):
        Quantiser(1.0).query(np.array([1], np.int32), np.array([np.inf], np.float32))
    for bad in (np.nan, np.inf, -1.0):
        with pytest.raises(InputError, match="document vectors"):
            Quantiser(1.0).documents(SparseRows.build([0, 1], [1], [bad], 3))


def test_latents_outside_the_columns_are_refused() -> None:
    for latent in (-1, 9):
        rows = SparseRows(np.array([0, 1]), np.array([latent], np.int32), np.ones(1, np.float32), 9)
        with pytest.raises(InputError, match=r"a latent lies outside 0\.\.8"):
            Quantiser(0.01, 8).documents(rows)
