import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax
from torch.autograd import gradcheck
from torch.nn.functional import cross_entropy

from saelex.training.retrieval.losses.info_nce import info_nce
from saelex.training.retrieval.losses.kl import kl_divergence
from saelex.training.retrieval.losses.margin_mse import margin_mse

MASK = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]]).bool()


def draw(seed):
    return 3 * torch.randn(MASK.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


SCORES, TEACHER = draw(0), draw(1)


def existing(matrix, row):
    return matrix[row, MASK[row]].numpy()


@pytest.mark.parametrize(("temperature", "teacher_temperature"), [(1.0, 1.0), (80.0, 1.0), (2.0, 0.5)])
def test_kl_is_the_relative_entropy_of_each_querys_existing_passages(temperature, teacher_temperature):
    expected = np.mean(
        [
            rel_entr(
                softmax(existing(TEACHER, row) / teacher_temperature), softmax(existing(SCORES, row) / temperature)
            ).sum()
            for row in range(len(MASK))
        ]
    )
    loss = kl_divergence(SCORES, TEACHER, MASK, temperature, teacher_temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_kl_is_zero_where_the_student_agrees_and_pulls_towards_the_teacher():
    assert kl_divergence(TEACHER * 5 + 7, TEACHER, MASK, temperature=5.0).item() == pytest.approx(0, abs=1e-12)
    scores = SCORES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(kl_divergence(scores, TEACHER, MASK, 2.0), scores)
    for row in range(len(MASK)):  # d KL / d s = (student - teacher) / temperature
        expected = softmax(existing(SCORES, row) / 2) - softmax(existing(TEACHER, row))
        np.testing.assert_allclose(existing(gradient, row), expected / 2 / len(MASK), atol=1e-12)


def test_margin_mse_is_the_mean_over_existing_pairs():
    errors = [
        (SCORES[row, 0] - SCORES[row, column] - TEACHER[row, 0] + TEACHER[row, column]).item() ** 2
        for row, column in [(0, 1), (0, 2), (0, 3), (1, 2), (2, 1)]
    ]
    assert margin_mse(SCORES, TEACHER, MASK).item() == pytest.approx(np.mean(errors), rel=1e-12)
    alone = margin_mse(SCORES[3:], TEACHER[3:], MASK[3:])
    assert alone.item() == 0


def test_info_nce_is_the_cross_entropy_over_allowed_columns():
    positive = torch.tensor([2, 0, 1, 0])
    expected = [
        -log_softmax(existing(SCORES, row) / 0.7)[int(MASK[row, :column].sum())]
        for row, column in enumerate(positive.tolist())
    ]
    assert info_nce(SCORES, positive, MASK, 0.7).item() == pytest.approx(np.mean(expected), rel=1e-12)
    everywhere = info_nce(SCORES, positive, torch.ones_like(MASK), 0.7)
    assert everywhere.item() == pytest.approx(cross_entropy(SCORES / 0.7, positive).item(), rel=1e-12)


LOSSES = {
    "kl": lambda scores: kl_divergence(scores, TEACHER, MASK, 2.0, 0.5),
    "margin_mse": lambda scores: margin_mse(scores, TEACHER, MASK),
    "info_nce": lambda scores: info_nce(scores, torch.zeros(4, dtype=torch.int64), MASK, 2.0),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(name):
    assert gradcheck(LOSSES[name], (SCORES.clone().requires_grad_(),))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("rubbish", [float("nan"), float("inf"), -float("inf")])
def test_what_stands_where_no_passage_is_does_not_matter(name, rubbish):
    scores = SCORES.masked_fill(~MASK, rubbish).requires_grad_()
    loss = LOSSES[name](scores)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert loss.item() == LOSSES[name](SCORES).item()
    assert bool((gradient[~MASK] == 0).all()) and bool((gradient[0] != 0).all())


@pytest.mark.parametrize("rubbish", [float("nan"), -float("inf")])
def test_a_missing_teachers_score_does_not_matter(rubbish):
    teacher = TEACHER.masked_fill(~MASK, rubbish)
    for loss in (kl_divergence, margin_mse):
        assert loss(SCORES, teacher, MASK).item() == loss(SCORES, TEACHER, MASK).item()


@pytest.mark.parametrize("name", LOSSES)
def test_low_precision_scores_are_computed_on_in_float32(name):
    scores = SCORES.bfloat16()
    expected = LOSSES[name](scores.float())
    with torch.autocast("cpu", torch.bfloat16):
        loss = LOSSES[name](scores)
    assert expected.item() == loss.item() and LOSSES[name](scores.double()).item() == pytest.approx(loss.item(), 1e-6)
