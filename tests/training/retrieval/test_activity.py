import numpy as np
import pytest
import torch
from scipy.stats import entropy

from saelex.training.retrieval.activity import Activity, document_counts, measure


def rows_of(n_rows, latents, active, seed=0, pool=None):
    """Rows with so many active latents each, drawn from the first `pool`."""
    noise = torch.rand(n_rows, pool or latents, generator=torch.Generator().manual_seed(seed))
    weights = torch.zeros(n_rows, latents)
    return weights.scatter_(1, noise.topk(active).indices, 1.0)


def test_activity_is_counted():
    weights = rows_of(130, 40, 7)
    weights[[3, 8]] = 0
    weights[:, 39] = 0
    found = measure(weights)
    active = weights.numpy() > 0
    counts = active.sum(0)
    assert (found.rows, found.latents) == (130, 40)
    assert found.active == pytest.approx(active.sum(1).mean())
    assert found.empty == (active.sum(1) == 0).mean() == 2 / 130
    assert found.distinct == 39
    assert found.in_use == pytest.approx(np.exp(entropy(counts / counts.sum())))
    assert found.most_common == counts.max() / 130


def test_activity_of_alike_of_different_and_of_no_rows():
    assert measure(torch.ones(5, 8)) == Activity(5, 8, 8, 0, 8, pytest.approx(8), 1)
    assert measure(torch.eye(8)) == Activity(8, 8, 1, 0, 8, pytest.approx(8), 1 / 8)
    assert measure(torch.zeros(3, 8)) == Activity(3, 8, 0, 1, 0, 0, 0)
    assert measure(torch.zeros(0, 8)) == Activity(0, 8, 0, 0, 0, 0, 0)


def test_document_counts_are_numbers_of_rows():
    weights = torch.randn(150, 12, generator=torch.Generator().manual_seed(0)).relu()
    assert document_counts(weights).tolist() == (weights.numpy() > 0).sum(0).tolist()
