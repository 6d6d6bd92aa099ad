"""Distillation of dense embeddings over a whole batch, against numpy."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, rel_entr, softmax
from torch.autograd import gradcheck

from saelex.training.retrieval.dense_teachers import Embedded
from saelex.training.retrieval.losses.embedding_kl import EmbeddingKL, best_temperature, row_divergence, target_shares
from saelex.training.retrieval.losses.loss import Scored


def draw(seed, *shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def teacher(seed, dimensions, temperature, weight):
    return Embedded(draw(seed, 3, dimensions).float(), draw(seed + 1, 5, dimensions).float(), temperature, weight)


SCORES = 3 * draw(0, 3, 5)
TEACHERS = [teacher(1, 4, 0.5, 3.0), teacher(3, 6, 2.0, 1.0)]


def expected_target():
    shares = [
        softmax(one.queries.double().numpy() @ one.passages.double().numpy().T / one.temperature, axis=1)
        for one in TEACHERS
    ]
    return 0.75 * shares[0] + 0.25 * shares[1]


def test_the_target_is_the_weighted_mean_of_the_teachers_distributions():
    target = target_shares(TEACHERS, torch.float64)
    np.testing.assert_allclose(target, expected_target(), rtol=1e-12)
    np.testing.assert_allclose(target_shares(TEACHERS[:1], torch.float64).sum(1), 1, rtol=1e-12)


def test_the_divergence_is_the_relative_entropy_of_whole_rows():
    target = expected_target()
    expected = rel_entr(target, softmax(SCORES.numpy() / 0.7, axis=1)).sum(1).mean()
    assert row_divergence(SCORES, torch.from_numpy(target), 0.7).item() == pytest.approx(expected, rel=1e-12)
    agreeing = torch.from_numpy(np.log(target)) * 2 + 5
    assert row_divergence(agreeing, torch.from_numpy(target), 2.0).item() == pytest.approx(0, abs=1e-12)


def test_a_share_of_zero_counts_nothing():
    target = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    scores = SCORES[:1, :3]
    expected = -log_softmax(scores.numpy(), axis=1)[0, 0]
    assert row_divergence(scores, target).item() == pytest.approx(expected, rel=1e-12)


def test_gradients_are_those_of_finite_differences():
    target = target_shares(TEACHERS, torch.float64)
    assert gradcheck(lambda scores: row_divergence(scores, target, 2.0), (SCORES.clone().requires_grad_(),))


@pytest.mark.parametrize("scale", [0.01, 1.0, 300.0])
def test_the_fitted_temperature_is_the_least_divergence_whatever_the_scale(scale):
    target = expected_target()
    scores = (SCORES.numpy() + np.log(target)) * scale

    def divergence(log_temperature):
        return rel_entr(target, softmax(scores / np.exp(log_temperature), axis=1)).sum(1).mean()

    best = np.exp(minimize_scalar(divergence, bounds=np.log(scale) + np.array([-4.0, 4.0]), method="bounded").x)
    found = best_temperature([(torch.from_numpy(scores), torch.from_numpy(target))])
    assert found == pytest.approx(best, rel=0.05)


def test_scores_that_are_all_equal_have_no_scale():
    assert best_temperature([(torch.ones(3, 5, dtype=torch.float64), torch.from_numpy(expected_target()))]) == 1.0


def test_without_a_temperature_the_first_step_sets_it_for_all_and_for_a_resumed_run():
    queries, passages = draw(5, 3, 8).relu(), draw(6, 5, 8).relu()

    def step(scale):
        scores = scale * queries @ passages.t()
        return Scored(scale * queries, passages, scores, scores, SimpleNamespace(embedded=TEACHERS), None)

    loss, resumed, fixed = EmbeddingKL(embedding_kl=1.0), EmbeddingKL(embedding_kl=1.0), EmbeddingKL(1.0, 2.0)
    for one in (loss, resumed, fixed):
        one.begin(8)
    target = target_shares(TEACHERS, torch.float64)
    fitted = best_temperature([(queries @ passages.t(), target)])
    first = loss.value(step(1.0)).item()
    assert first == pytest.approx(row_divergence(queries @ passages.t(), target, fitted).item(), rel=1e-12)
    later = row_divergence(3 * queries @ passages.t(), target, fitted).item()
    assert loss.value(step(3.0)).item() == pytest.approx(later, rel=1e-12)
    resumed.load_state_dict(loss.state_dict())
    assert resumed.value(step(3.0)).item() == pytest.approx(later, rel=1e-12)
    assert fixed.state_dict() == {}
