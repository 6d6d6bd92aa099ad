"""The loss of a batch, against plain formulas."""

import pytest
import torch
from tests.training.retrieval.toys import examples

from saelex.training.retrieval.batch import RetrievalBatch, text_key
from saelex.training.retrieval.objective import Objective
from saelex.training.retrieval.recipe import LossRecipe, SparsityRecipe

NO_SPARSITY = SparsityRecipe(query=0.0, document=0.0)


@pytest.fixture
def batch():
    made = examples(4)
    counts = [len(one.passages) for one in made]
    mask = torch.arange(4) < torch.tensor(counts)[:, None]
    columns = torch.zeros(4, 4, dtype=torch.int64)
    columns[mask] = torch.arange(sum(counts))
    texts = [text for one in made for text in one.passages]
    keys = torch.tensor([text_key(text) for text in texts])
    relevant = torch.tensor([[text_key(one.passages[0])] for one in made])
    return RetrievalBatch((), columns, mask, torch.rand(4, 4), keys, relevant, None, torch.ones(4).bool())


@pytest.fixture
def vectors():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(4, 30, generator=generator), torch.rand(15, 30, generator=generator)


def test_relevant_passages_of_other_queries_are_no_negatives(batch, vectors):
    queries, passages = vectors
    batch.keys[5] = batch.relevant[0, 0]  # another copy of the first query's positive
    loss = Objective(LossRecipe(kl=0, info_nce=1.0, info_nce_temperature=0.5), NO_SPARSITY, 30)
    scores = queries @ passages.t() / 0.5
    scores[0, 5] = -torch.inf
    expected = -scores.log_softmax(1)[torch.arange(4), batch.columns[:, 0]].mean()
    assert float(loss(queries, passages, batch, 0).loss) == pytest.approx(float(expected), rel=1e-5)


def test_contrast_within_the_querys_own_passages(batch, vectors):
    queries, passages = vectors
    loss = Objective(LossRecipe(kl=0, info_nce=1.0, in_batch=False), NO_SPARSITY, 30)
    expected = sum(-(queries[i] @ passages[batch.columns[i][batch.mask[i]]].t()).log_softmax(0)[0] for i in range(4))
    assert float(loss(queries, passages, batch, 0).loss) == pytest.approx(float(expected / 4), rel=1e-5)


def test_words_are_given_and_latents_learn_the_rest(batch, vectors):
    queries, passages = (tensor.requires_grad_() for tensor in vectors)
    words = torch.rand(4, 15) * 5
    loss = Objective(LossRecipe(kl=0, info_nce=1.0), NO_SPARSITY, 30)
    outcome = loss(queries, passages, batch._replace(words=words), 0)
    expected = -(queries @ passages.t() + words).log_softmax(1)[torch.arange(4), batch.columns[:, 0]].mean()
    assert float(outcome.loss) == pytest.approx(float(expected), rel=1e-5)


def test_ramp_and_steered_lambda(batch, vectors):
    sparsity = SparsityRecipe(query=0.5, document=0.25, ramp="quadratic", ramp_steps=10, target_document=1.0)
    loss = Objective(LossRecipe(kl=0, info_nce=1.0), sparsity, 30)
    parts = [loss(*vectors, batch, step).parts for step in range(14)]
    assert parts[5]["lambda_query"] == pytest.approx(0.5 * 0.25)
    assert parts[5]["lambda_document"] == pytest.approx(0.25 * 0.25)  # not steered before the ramp ends
    assert parts[13]["lambda_query"] == 0.5
    assert parts[13]["lambda_document"] > 0.25  # 30 active latents, where 1 is wanted
    again = Objective(LossRecipe(kl=0, info_nce=1.0), sparsity, 30)
    again.load_state_dict(loss.state_dict())
    assert again(*vectors, batch, 14).parts == loss(*vectors, batch, 14).parts


def test_flops_is_the_square_of_mean_weights(batch, vectors):
    queries, passages = vectors
    loss = Objective(LossRecipe(kl=1.0), SparsityRecipe(query=0.3, document=0.7), 30)
    without = Objective(LossRecipe(kl=1.0), NO_SPARSITY, 30)
    term = float(loss(*vectors, batch, 0).loss - without(*vectors, batch, 0).loss)
    expected = 0.3 * (queries.mean(0) ** 2).sum() + 0.7 * (passages.mean(0) ** 2).sum()
    assert term == pytest.approx(float(expected), rel=1e-4)
