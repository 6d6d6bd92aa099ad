"""Two gloo processes with unequal shares of the rows: their values, and the gradients that DistributedDataParallel
averages, are those of one process with all rows."""

import numpy as np
import pytest
import torch
from tests.training.retrieval.two_ranks import together
from torch.nn.parallel import DistributedDataParallel

from saelex.training.retrieval.activity import measure
from saelex.training.retrieval.losses.info_nce import info_nce
from saelex.training.retrieval.losses.kl import kl_divergence
from saelex.training.retrieval.losses.margin_mse import margin_mse
from saelex.training.retrieval.ranks import gather_over_ranks, mean_over_ranks, rank, sum_over_ranks, world_size
from saelex.training.retrieval.regularisers.df_flops import DocumentFrequencies, df_flops
from saelex.training.retrieval.regularisers.flops import flops

QUERIES, PASSAGES, INPUTS, LATENTS = 5, 3, 6, 9
SHARES = [slice(0, 4), slice(4, 5)]  # of the queries


def draw(seed, *shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def model():
    layer = torch.nn.Linear(INPUTS, LATENTS, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(draw(0, LATENTS, INPUTS))
        layer.bias.copy_(draw(1, LATENTS))
    return layer


def mask_of():
    mask = torch.ones(QUERIES, PASSAGES, dtype=torch.bool)
    mask[1, 2] = mask[2, 1:] = mask[4, 2] = False  # 6 pairs with negatives for rank 0 and 1 for rank 1
    return mask


def in_batch(queries, passages, mask, teacher):
    """InfoNCE against the passages of all ranks."""
    everyone = gather_over_ranks(passages.flatten(0, 1))  # [all passages, latents]
    before = int(gather_over_ranks(torch.tensor([mask.numel()]))[: rank()].sum())
    allowed = gather_over_ranks(mask.flatten()).expand(len(queries), -1)
    positive = before + PASSAGES * torch.arange(len(queries))
    return info_nce(queries @ everyone.T, positive, allowed, 3.0)


def scores_of(queries, passages):
    return torch.einsum("ql,qpl->qp", queries, passages)


FREQUENCY = torch.linspace(0, 1, LATENTS, dtype=torch.float64)
CASES = {
    "flops": lambda q, p, mask, teacher: flops(q) + 0.3 * flops(p.flatten(0, 1)),
    "df_flops": lambda q, p, mask, teacher: df_flops(p.flatten(0, 1), FREQUENCY, 0.3, 2.0),
    "kl": lambda q, p, mask, teacher: kl_divergence(scores_of(q, p), teacher, mask, 2.0),
    "margin_mse": lambda q, p, mask, teacher: margin_mse(scores_of(q, p), teacher, mask),
    "in_batch": in_batch,
}


def learnt(share, wrap):
    """Loss and gradients of each case, as bytes of numbers that processes can send each other."""
    layer = wrap(model())
    queries, passages = draw(2, QUERIES, INPUTS)[share], draw(3, QUERIES, PASSAGES, INPUTS)[share]
    mask, teacher = mask_of()[share], draw(4, QUERIES, PASSAGES)[share]
    found = {}
    for name, loss_of in CASES.items():
        layer.zero_grad()
        weights = (
            layer(torch.cat([queries[:, None], passages], dim=1)).relu().log1p()
        )  # [queries, 1 + passages, latents]
        loss = loss_of(weights[:, 0], weights[:, 1:], mask, teacher)
        loss.backward()
        found[name] = [loss.item(), *(parameter.grad.numpy().copy() for parameter in layer.parameters())]
    return found


def everything(folder):
    """All that the tests ask of two processes, since starting them takes long."""
    me = rank()
    rows = torch.arange(3.0 * (1 + 2 * me)).reshape(-1, 3) + 100 * me  # 1 row and 3 rows
    found = {"ranks": (me, world_size()), "learnt": learnt(SHARES[me], DistributedDataParallel)}
    found["gathered"] = gather_over_ranks(rows).numpy()
    found["flags"] = gather_over_ranks(rows[:, 0] > 0).numpy()
    found["none"] = gather_over_ranks(rows[: 2 * me]).numpy()  # no row and 2 rows
    found["sum"] = sum_over_ranks(torch.tensor([1, 10]) * (1 + me)).numpy()
    found["mean"] = mean_over_ranks(torch.tensor(1.0 + 5 * me), 1 + 2 * me).item()
    found["nothing"] = mean_over_ranks(torch.tensor(0.0), 0).item()
    weights = draw(5, 7, LATENTS).relu()[slice(0, 2) if me == 0 else slice(2, 7)]
    found["activity"] = measure(weights)
    frequencies = DocumentFrequencies(LATENTS, memory=20)
    frequencies.update(weights)
    frequencies.update(weights[:1])
    found["frequency"] = frequencies.frequency().numpy()
    return found


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    return together(everything, folder, folder)


@pytest.mark.parametrize("name", CASES)
def test_loss_and_averaged_gradients_are_those_of_one_process_with_all_rows(answers, name):
    expected = learnt(slice(None), lambda layer: layer)[name]
    assert max(abs(expected[1]).max(), abs(expected[2]).max()) > 1e-3
    for answer in answers:
        for ours, theirs in zip(answer["learnt"][name], expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


def test_rows_are_gathered_in_rank_order_whatever_their_numbers(answers):
    rows = [[0, 1, 2], [100, 101, 102], [103, 104, 105], [106, 107, 108]]
    for number, answer in enumerate(answers):
        assert answer["ranks"] == (number, 2)
        assert answer["gathered"].tolist() == rows
        assert answer["flags"].tolist() == [False, True, True, True]
        assert answer["none"].tolist() == rows[1:3]


def test_sums_and_means_are_over_all_ranks(answers):
    for answer in answers:
        assert answer["sum"].tolist() == [3, 30]
        assert answer["mean"] == 7 / 4
        assert answer["nothing"] == 0


def test_activity_and_document_frequencies_are_of_all_rows(answers):
    weights = draw(5, 7, LATENTS).relu()
    frequencies = DocumentFrequencies(LATENTS, memory=20)
    frequencies.update(weights)
    frequencies.update(weights[[0, 2]])  # each rank's first row
    for answer in answers:
        assert answer["activity"] == measure(weights)
        assert answer["frequency"].tolist() == frequencies.frequency().tolist()


def test_one_process_talks_to_nobody():
    rows = torch.rand(2, 3, requires_grad=True)
    assert (rank(), world_size()) == (0, 1)
    assert sum_over_ranks(rows) is rows and gather_over_ranks(rows) is rows
    assert mean_over_ranks(torch.tensor(3.0), 2).item() == 1.5
