"""Triton's kernels in its interpreter, on whole numbers: sums are exact, ties are many, and results equal."""

from __future__ import annotations

import pytest
import torch
from tests.encoder.pooling.problems import LENGTHS, offsets_of, without_triton

from saelex.encoder.pooling import triton
from saelex.encoder.pooling.operations import Entries
from saelex.encoder.pooling.triton import Tile, TritonOperations

pytestmark = without_triton
ops = TritonOperations()


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles of 16 tokens x 32 latents, so that small problems cross their borders."""
    monkeypatch.setattr(triton, "tiles", lambda *_: [Tile(16, 32, 16, 4, 1)])
    triton._tuned.cache_clear()
    yield
    triton._tuned.cache_clear()


def whole(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randint(-2, 3, shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


# rows of 16 bytes are read by tensor descriptors, others by pointers
@pytest.mark.parametrize("d_model", [20, 21])
@pytest.mark.parametrize("per_run", [1, 4, 9])
def test_maxima_and_first_tokens_of_sequences_across_tiles_and_runs(small_tiles, monkeypatch, per_run, d_model):
    monkeypatch.setattr(triton, "sequences_of_a_run", lambda *_: per_run)
    hidden, weight = whole(sum(LENGTHS), d_model), whole(40, d_model, seed=1)
    maxima, tokens = ops.linear_max(hidden, weight, offsets_of(LENGTHS))
    for i, products in enumerate((hidden @ weight.T).split(LENGTHS)):
        if len(products):
            values, first = products.max(dim=0)
            assert torch.equal(maxima[i], values)
            assert torch.equal(tokens[i], first.int())
        else:
            assert (maxima[i] == -torch.inf).all()
            assert (tokens[i] == -1).all()


@pytest.mark.parametrize("k", [1, 5, 16])
@pytest.mark.parametrize("per_part", [32, 96])
def test_top_k_of_parts_with_the_lower_of_equal_latents(small_tiles, monkeypatch, per_part, k):
    monkeypatch.setattr(triton, "latents_of_a_part", lambda *_: per_part)
    hidden, weight, bias = whole(18, 8), whole(100, 8, seed=1), whole(100, seed=2)
    scale = 2.0 ** whole(100, seed=3)
    values, latents = ops.token_topk(hidden, weight, bias, scale, k)
    expected = ((hidden @ weight.T + bias) * scale).sort(dim=1, descending=True, stable=True)
    assert torch.equal(values, expected.values[:, :k])
    assert torch.equal(latents, expected.indices[:, :k])


def test_more_latents_than_a_part_has(small_tiles, monkeypatch):
    monkeypatch.setattr(triton, "latents_of_a_part", lambda *_: 32)
    hidden, weight = whole(3, 8), whole(70, 8, seed=1)
    values, latents = ops.token_topk(hidden, weight, torch.zeros(70), None, 50)
    expected = (hidden @ weight.T).sort(dim=1, descending=True, stable=True)
    assert torch.equal(values, expected.values[:, :50])
    assert torch.equal(latents, expected.indices[:, :50])


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # numpy's, of the interpreter
def test_what_is_not_finite_has_its_place():
    hidden = torch.tensor([[1.0], [torch.nan], [torch.inf], [-torch.inf]])
    weight = torch.tensor([[1.0], [-1.0]])
    maxima, tokens = ops.linear_max(hidden, weight, torch.tensor([0, 1, 2, 4, 4]))
    expected = torch.tensor([[1, -1], [torch.nan, torch.nan], [torch.inf, torch.inf], [-torch.inf, -torch.inf]])
    torch.testing.assert_close(maxima, expected, equal_nan=True)
    assert tokens.tolist() == [[0, 0], [0, 0], [0, 1], [-1, -1]]
    values, latents = ops.token_topk(hidden, weight, torch.zeros(2), None, 1)
    torch.testing.assert_close(values[:, 0], torch.tensor([1, torch.nan, torch.inf, torch.inf]), equal_nan=True)
    assert latents[:, 0].tolist() == [0, 0, 0, 1]


def test_a_token_of_minus_infinity_is_a_token():
    maxima, tokens = ops.linear_max(torch.full((2, 1), -torch.inf), torch.ones(1, 1), torch.tensor([0, 2]))
    assert maxima.tolist() == [[-torch.inf]]
    assert tokens.tolist() == [[0]]


def test_minus_zero_ties_with_zero():
    hidden = torch.tensor([[-0.0], [0.0]])
    _, tokens = ops.linear_max(hidden, torch.ones(1, 1), torch.tensor([0, 2]))
    assert tokens.tolist() == [[0]]


@pytest.mark.parametrize("dtypes", [(torch.float16, torch.float32), (torch.float32, torch.bfloat16)])
def test_the_weight_takes_the_hidden_states_dtype(dtypes):
    hidden, weight = whole(6, 8, dtype=dtypes[0]), whole(20, 8, seed=1, dtype=dtypes[1])
    maxima, _ = ops.linear_max(hidden, weight, torch.tensor([0, 6]))
    assert maxima.dtype == torch.float32
    assert torch.equal(maxima[0], (hidden.float() @ weight.float().T).max(dim=0).values)


def test_rows_of_many_entries_and_of_none_are_summed():
    into, rows, values = torch.tensor([2, 0, *[2] * 20]), torch.arange(22) % 5, whole(22, seed=1)
    hidden, expected = whole(5, 3), torch.zeros(4, 3)
    for entry in range(22):
        expected[into[entry]] += values[entry] * hidden[rows[entry]]
    assert torch.equal(ops.weight_gradient(Entries(rows, into, values), hidden, torch.empty(4, 3)), expected)


@pytest.mark.parametrize(
    ("tokens", "sequences", "latents", "expected"),
    [(1152 * 128, 1152, 131_072, 16), (20, 1, 131_072, 1), (4000, 200, 16_384, 25), (10, 1000, 131_072, 1000)],
)
def test_sequences_of_a_run(tokens, sequences, latents, expected):
    assert triton.sequences_of_a_run(tokens, sequences, latents) == expected


@pytest.mark.parametrize(("tokens", "expected"), [(1152 * 128, 16_384), (20, 256), (1280, 1536)])
def test_latents_of_a_part(tokens, expected):
    assert triton.latents_of_a_part(tokens, 131_072) == expected
