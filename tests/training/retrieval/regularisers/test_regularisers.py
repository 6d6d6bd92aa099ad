import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from saelex.errors import InputError, MismatchError
from saelex.training.retrieval.regularisers.df_flops import DocumentFrequencies, df_flops, frequency_weights
from saelex.training.retrieval.regularisers.flops import flops


def sparse_rows(rows=150, latents=12, seed=0):
    return torch.randn(rows, latents, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).relu()


def test_flops_is_the_sum_of_squared_means():
    assert flops(torch.tensor([[1.0, 0.0, 4.0], [3.0, 0.0, 0.0]])).item() == 2**2 + 0 + 2**2
    weights = sparse_rows()
    assert flops(weights).item() == pytest.approx((weights.numpy().mean(0) ** 2).sum(), rel=1e-12)


def test_flops_counts_the_multiplications_of_two_random_rows():
    active = (sparse_rows(60, 12) > 0).double()  # of rows of zeros and ones it is the mean overlap, Paria et al. eq. 4
    assert flops(active).item() == pytest.approx((active @ active.T).mean().item(), rel=1e-12)


def test_flops_of_low_precision_weights_is_summed_in_float32():
    weights = torch.full((3000, 1), 0.01).bfloat16()
    assert flops(weights).item() == pytest.approx(weights[0, 0].item() ** 2, rel=1e-5)


def test_df_flops_weights_each_mean_within_the_square():
    weights, frequency = sparse_rows(), torch.tensor([0, 1e-6, 0.05, 0.1, 0.2, 0.9, 1.0], dtype=torch.float64)
    alpha, beta = 0.1, 10.0
    by_hand = [
        1 / (1 + (x ** math.log(2, alpha) - 1) ** beta) if x else 0.0 for x in frequency.tolist()
    ]  # arXiv 2505.15070
    np.testing.assert_allclose(frequency_weights(frequency, alpha, beta), by_hand, rtol=1e-9)
    assert by_hand[3] == pytest.approx(0.5) and by_hand[6] == 1 and by_hand[1] < 1e-12
    expected = ((by_hand * weights[:, :7].numpy().mean(0)) ** 2).sum()
    assert df_flops(weights[:, :7], frequency, alpha, beta).item() == pytest.approx(expected, rel=1e-9)


def test_df_flops_is_flops_where_all_documents_have_all_latents_and_nothing_where_none_has():
    weights = sparse_rows()
    assert df_flops(weights, torch.ones(12)).item() == pytest.approx(flops(weights).item(), rel=1e-6)
    assert df_flops(weights, torch.zeros(12)).item() == 0


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 10.0), (1.0, 10.0), (0.1, 0.0)])
def test_a_curve_that_is_none_is_an_error(alpha, beta):
    with pytest.raises(InputError, match=r"sparsity\.df_alpha must lie between 0 and 1 and sparsity\.df_beta above 0"):
        frequency_weights(torch.rand(3), alpha, beta)


def test_gradients_are_those_of_finite_differences():
    weights = sparse_rows(5, 4).add(0.1).requires_grad_()
    frequency = torch.tensor([0.0, 0.05, 0.2, 1.0], dtype=torch.float64)
    assert gradcheck(flops, (weights,))
    assert gradcheck(lambda rows: df_flops(rows, frequency), (weights,))


def test_document_frequencies_forget_what_lies_far_back():
    frequencies = DocumentFrequencies(3, memory=10)
    assert frequencies.frequency().tolist() == [0, 0, 0]
    frequencies.update(torch.tensor([[1.0, 0, 0], [1, 2, 0]]))
    assert frequencies.frequency().tolist() == [1, 0.5, 0]
    frequencies.update(torch.tensor([[0.0, 0, 5]] * 5))  # the former counts, and their 2 documents, are halved
    np.testing.assert_allclose(frequencies.frequency(), np.array([1, 0.5, 5]) / 6, rtol=1e-6)
    frequencies.update(torch.tensor([[0.0, 1, 0]] * 10))
    assert frequencies.frequency().tolist() == [0, 1, 0]


def test_document_frequencies_near_the_shares_of_a_steady_stream():
    frequencies = DocumentFrequencies(4, memory=2000)
    shares = torch.tensor([0.01, 0.1, 0.5, 1.0])
    draws = torch.rand(300, 64, 4, generator=torch.Generator().manual_seed(0)) < shares
    for batch in draws:
        frequencies.update(batch.float())
    np.testing.assert_allclose(frequencies.frequency(), shares, atol=0.03)


def test_document_frequencies_go_on_where_they_were_saved():
    whole, first = DocumentFrequencies(12, memory=700), DocumentFrequencies(12, memory=700)
    for seed in range(3):
        whole.update(sparse_rows(seed=seed))
        first.update(sparse_rows(seed=seed))
    state = first.state_dict()
    first.update(sparse_rows(seed=9))  # the saved state is a copy
    second = DocumentFrequencies(12, memory=700)
    second.load_state_dict(state)
    for seed in range(3, 6):
        whole.update(sparse_rows(seed=seed))
        second.update(sparse_rows(seed=seed))
    assert torch.equal(second.frequency(), whole.frequency()) and second.documents == whole.documents
    with pytest.raises(MismatchError, match="of 12 latents do not fit a head of 5"):
        DocumentFrequencies(5).load_state_dict(state)
