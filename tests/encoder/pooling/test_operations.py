"""Every device's operations against dense algebra; on CPU tensors, which all objects read."""

from __future__ import annotations

import pytest
import torch
from tests.encoder.pooling.problems import LENGTHS, offsets_of, without_triton

from saelex.encoder.pooling import cpu, operations
from saelex.encoder.pooling.devices import OPERATIONS
from saelex.encoder.pooling.operations import Entries

EVERY = {name: own for name, own in OPERATIONS.items() if name != "triton"}
with_blocks = pytest.mark.parametrize("ops", EVERY.values(), ids=EVERY.keys())
every_object = pytest.mark.parametrize(
    "ops", [*EVERY.values(), pytest.param(OPERATIONS["triton"], marks=without_triton)], ids=[*EVERY, "triton"]
)


@with_blocks
@pytest.mark.parametrize("tokens", [1, 3, 200])
def test_half_precision_weights_are_widened_a_few_latents_at_a_time(ops, tokens, monkeypatch):
    """However few the tokens: a query must not widen a head of some gigabytes."""
    monkeypatch.setattr(type(ops), "block_entries", 2**20)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, 512, generator=generator)
    weight = torch.randn(20_000, 512, generator=generator).bfloat16()
    widened = []

    def product(self, inputs, rows):
        assert rows.dtype == torch.float32
        widened.append(rows.numel())
        return inputs @ rows.T

    monkeypatch.setattr(type(ops), "product", product)
    blocks = list(ops.latent_blocks(hidden, weight))
    assert max(widened) <= 2**22
    assert sum(widened) == weight.numel()
    assert [start for start, _, _ in blocks] == [0, *(stop for _, stop, _ in blocks)][:-1]
    whole = torch.cat([block for _, _, block in blocks], dim=1)
    torch.testing.assert_close(whole, hidden @ weight.float().T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ops", [OPERATIONS["cpu"], OPERATIONS["torch"]], ids=["cpu", "torch"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_products_are_accumulated_in_at_least_float32(ops, dtype):
    torch.manual_seed(0)
    hidden, weight = torch.randn(4, 64).to(dtype), torch.randn(300, 64).to(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    block = torch.cat([block for _, _, block in ops.latent_blocks(hidden, weight)], dim=1)
    assert block.dtype == wide
    torch.testing.assert_close(block, hidden.to(wide) @ weight.to(wide).T)


@with_blocks
def test_linear_maxima_over_several_blocks(ops, monkeypatch):
    monkeypatch.setattr(type(ops), "block_entries", 1)
    torch.manual_seed(0)
    hidden, weight = torch.randn(sum(LENGTHS), 6).double(), torch.randn(700, 6).double()
    maxima, tokens = ops.linear_max(hidden, weight, offsets_of(LENGTHS))
    for i, products in enumerate((hidden @ weight.T).split(LENGTHS)):
        if len(products):
            torch.testing.assert_close(maxima[i], products.max(dim=0).values)
            assert torch.equal(tokens[i], products.argmax(dim=0).int())
        else:
            assert (maxima[i] == -torch.inf).all() and (tokens[i] == -1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@with_blocks
def test_maxima_and_first_tokens(ops, dtype):
    width, start = 1100, 3
    torch.manual_seed(0)
    block = torch.randint(-4, 4, (sum(LENGTHS), width)).to(dtype)  # many ties
    maxima = torch.full((len(LENGTHS), start + width + 2), 77.0, dtype=dtype)
    tokens = torch.full(maxima.shape, 77, dtype=torch.int32)
    ops.segment_max(block, offsets_of(LENGTHS), maxima, tokens, start)
    here = slice(start, start + width)
    for i, rows in enumerate(block.split(LENGTHS)):
        if len(rows):
            values, first = rows.max(dim=0)
            assert torch.equal(maxima[i, here], values)
            assert torch.equal(tokens[i, here], first.int())
        else:
            assert (maxima[i, here] == -torch.inf).all()
            assert (tokens[i, here] == -1).all()
    assert (maxima[:, :start] == 77).all()
    assert (tokens[:, start + width :] == 77).all()


@with_blocks
def test_nan_is_not_lost(ops):
    block = torch.zeros(4, 3)
    block[1, 1] = torch.nan
    maxima, tokens = torch.empty(2, 3), torch.empty(2, 3, dtype=torch.int32)
    ops.segment_max(block, torch.tensor([0, 3, 4]), maxima, tokens, 0)
    assert maxima.isnan().tolist() == [[False, True, False], [False, False, False]]
    assert tokens.min() >= 0
    assert tokens.max() <= 2


@with_blocks
def test_sums(ops):
    torch.manual_seed(0)
    block, total = torch.randn(sum(LENGTHS), 40), torch.full((len(LENGTHS), 50), 77.0)
    ops.segment_sum(block, offsets_of(LENGTHS), total, 5)
    expected = torch.stack([rows.sum(0) for rows in block.split(LENGTHS)])
    torch.testing.assert_close(total[:, 5:45], expected)
    assert (total[:, 45:] == 77).all()


@with_blocks
@pytest.mark.parametrize("block_latents", [64, 256, 4096])
@pytest.mark.parametrize("k", [1, 8, 100])
def test_top_k_of_all_latents(ops, k, block_latents, monkeypatch):
    monkeypatch.setattr(type(ops), "block_entries", 1)
    monkeypatch.setattr(operations, "_FEWEST_LATENTS", block_latents)
    torch.manual_seed(0)
    hidden, weight = torch.randn(9, 16).double(), torch.randn(700, 16).double()
    bias, scale = torch.randn(700), torch.rand(700) + 0.5
    values, latents = ops.token_topk(hidden, weight, bias, scale, k)
    expected = ((hidden @ weight.t() + bias) * scale).topk(k, dim=1)
    torch.testing.assert_close(values, expected.values)
    assert torch.equal(latents, expected.indices)


def test_equal_values_keep_the_lower_latents_on_a_cpu():
    hidden, weight = torch.ones(2, 3), torch.ones(300, 3)
    values, latents = cpu.CpuOperations().token_topk(hidden, weight, torch.zeros(300), None, 5)
    assert (values == 3).all()
    assert latents.tolist() == [[0, 1, 2, 3, 4]] * 2


@every_object
def test_places_of_the_strongest_tokens(ops):
    torch.manual_seed(0)
    n_tokens, n_latents, k = sum(LENGTHS), 12, 4
    latents = torch.stack([torch.randperm(n_latents)[:k] for _ in range(n_tokens)])
    values = torch.randint(-2, 3, (n_tokens, k)).float()  # many ties, zeros and negative ones
    values[6, 1] = torch.nan  # in the long sequence: NaN wins, the earlier numbers of its latent are passed over
    dense = torch.full((n_tokens, n_latents), -torch.inf).scatter(1, latents, values)
    expected = []
    for start, end in zip(offsets_of(LENGTHS)[:-1].tolist(), offsets_of(LENGTHS)[1:].tolist()):
        for latent in range(n_latents if end > start else 0):
            token = start + int(dense[start:end, latent].argmax())  # of equal ones the first; NaN is the largest
            if not dense[token, latent] <= 0:
                expected.append(token * k + latents[token].tolist().index(latent))
    assert ops.strongest(values, latents, offsets_of(LENGTHS), n_latents).tolist() == expected
    assert 6 * k + 1 in expected


@every_object
@pytest.mark.parametrize("floor", [torch.zeros(1), torch.tensor([0.0, 2.0, 0.0, 1.0, 0.0])])
def test_what_is_above_its_floor_as_rows(ops, floor):
    values = torch.tensor([[0.0, 2.5, torch.nan, 1.0, -1.0], [-1.0] * 5, [1.0, 1.5, 0.0, 2.0, torch.inf]])
    tokens = torch.arange(15, dtype=torch.int32).view(3, 5)
    active = ops.active(values, tokens, floor)
    above = ~(values <= floor)
    assert active.indptr.tolist() == [0, *above.sum(1).cumsum(0).tolist()]
    assert active.latents.tolist() == [j for i in range(3) for j in range(5) if above[i, j]]
    assert active.latents.dtype == active.tokens.dtype == torch.int32
    assert torch.equal(active.tokens, tokens[above])
    torch.testing.assert_close(active.values, values[above], equal_nan=True)


@every_object
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_sparse_products_are_products_with_the_dense_gradient(ops, dtype, monkeypatch):
    monkeypatch.setattr(operations, "_ENTRIES_AT_A_TIME", 7)
    torch.manual_seed(0)
    hidden, weight = torch.randn(11, 8).to(dtype), torch.randn(30, 8).to(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    entries = Entries(torch.randint(11, (50,)), torch.randint(30, (50,)), torch.randn(50, dtype=wide))
    dense = torch.zeros(11, 30, dtype=wide).index_put(
        (entries.tokens, entries.latents), entries.values, accumulate=True
    )
    for found, expected in (
        (ops.hidden_gradient(entries, hidden, weight), dense @ weight.to(wide)),
        (ops.weight_gradient(entries, hidden, weight), dense.t() @ hidden.to(wide)),
    ):
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected.to(dtype))
