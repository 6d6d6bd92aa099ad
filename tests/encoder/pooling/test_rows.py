from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.encoder.pooling.problems import GATES, LENGTHS, make_head, make_hidden, offsets_of, without_triton

from saelex.encoder.pooling import pool, pool_rows
from saelex.errors import InputError
from saelex.vectors import SparseRows


@pytest.mark.parametrize("saturation", ["log1p", "sqrt"])
@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("implementation", ["fused", "torch", "reference"])
def test_rows_are_the_pooled_weights_and_tokens(implementation, gate, pooling, saturation):
    head, hidden, offsets = (
        make_head(gate, pooling=pooling, saturation=saturation),
        make_hidden(LENGTHS),
        offsets_of(LENGTHS),
    )
    rows = pool_rows(hidden, offsets, head, implementation=implementation)
    weights, tokens = (tensor.detach().numpy() for tensor in pool(hidden, offsets, head, implementation))
    expected = SparseRows.from_dense(weights, tokens)
    np.testing.assert_array_equal(rows.indptr, expected.indptr)
    np.testing.assert_array_equal(rows.latents, expected.latents)
    np.testing.assert_array_equal(rows.positions, expected.positions)
    np.testing.assert_allclose(rows.weights, expected.weights, rtol=1e-6)
    assert rows.positions.min() >= 0


@pytest.mark.parametrize("gate", ["jumprelu", "topk"])
@without_triton
def test_tritons_rows_are_the_references(gate):
    head, hidden, offsets = make_head(gate, 40), make_hidden(LENGTHS), offsets_of(LENGTHS)
    found, expected = (pool_rows(hidden, offsets, head, 5, implementation=name) for name in ("triton", "reference"))
    for name in ("indptr", "latents", "positions"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-5)


@pytest.mark.parametrize("top_k", [1, 5, 40, 1000])
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("implementation", ["fused", "torch", "reference"])
def test_top_k_is_that_of_all_rows(implementation, gate, top_k):
    head, hidden, offsets = make_head(gate), make_hidden(LENGTHS), offsets_of(LENGTHS)
    found = pool_rows(hidden, offsets, head, top_k, implementation)
    expected = pool_rows(hidden, offsets, head, None, implementation).top_k(top_k)
    for name in ("indptr", "latents", "weights", "positions"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_among_equal_weights_the_lower_latent_stays():
    head, hidden = make_head("relu"), make_hidden([6])
    with torch.no_grad():
        head.weight.copy_(head.weight[:30].repeat(10, 1))
        head.bias.copy_(head.bias[:30].repeat(10))
    latents, weights = pool_rows(hidden, offsets_of([6]), head, 14).row(0)
    dense = pool(hidden, offsets_of([6]), head).weights[0].detach().numpy()
    expected = sorted(np.lexsort((np.arange(300), -dense))[:14])
    assert latents.tolist() == expected
    assert len(set(weights.tolist())) == 2  # ten copies of the strongest, four of the next


def test_soft_cap_is_applied():
    head, hidden, offsets = make_head("relu", softcap=0.8), make_hidden(LENGTHS), offsets_of(LENGTHS)
    expected = pool(hidden, offsets, head, "reference").weights.detach().numpy()
    np.testing.assert_allclose(pool_rows(hidden, offsets, head).to_dense(), expected, atol=1e-5)


def test_a_head_in_bfloat16_gives_float32_rows():
    head, hidden, offsets = make_head("jumprelu").bfloat16(), make_hidden(LENGTHS).bfloat16(), offsets_of(LENGTHS)
    rows = pool_rows(hidden, offsets, head, 10)
    assert rows.weights.dtype == np.float32
    assert rows.lengths.tolist() == [10 if length else 0 for length in LENGTHS]


@pytest.mark.parametrize("top_k", [None, 3])
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("implementation", ["fused", "torch", "reference"])
def test_broken_hidden_states_are_an_error_not_an_empty_row(implementation, gate, top_k):
    hidden = make_hidden(LENGTHS)
    hidden[0] = torch.nan
    with pytest.raises(InputError, match="NaN or infinity: load it in float32"):
        pool_rows(hidden, offsets_of(LENGTHS), make_head(gate), top_k, implementation)


def test_top_k_below_one_is_refused():
    with pytest.raises(InputError, match="at least one latent"):
        pool_rows(make_hidden([2]), offsets_of([2]), make_head("relu"), 0)
