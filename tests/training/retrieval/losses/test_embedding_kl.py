"""Distillation of dense embeddings over a whole batch, against numpy."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax
from torch.autograd import gradcheck

from saelex.training.retrieval.dense_teachers import Embedded
from saelex.training.retrieval.losses.embedding_kl import row_divergence, target_shares


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
