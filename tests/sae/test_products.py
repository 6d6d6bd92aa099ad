"""Every device's products against dense algebra; on CPU tensors, which all objects read."""

import pytest
import torch

from saelex.sae.products import PRODUCTS, plain, products_of, sum_values

TOKENS, D_MODEL, LATENTS, K = 37, 12, 90, 5

every_object = pytest.mark.parametrize("products", PRODUCTS.values(), ids=PRODUCTS.keys())


def test_a_device_without_products_of_its_own_has_plain_pytorchs():
    assert products_of(torch.device("cpu")) is PRODUCTS["cpu"]
    assert products_of(torch.device("cuda:1")) is products_of(torch.device("meta")) is PRODUCTS["torch"]


@every_object
def test_they_equal_dense_algebra(products):
    generator = torch.Generator().manual_seed(5)
    values = torch.randn(TOKENS, K, generator=generator).relu()
    latents = torch.stack([torch.randperm(LATENTS, generator=generator)[:K] for _ in range(TOKENS)]).int()
    states = torch.randn(TOKENS, D_MODEL, generator=generator)
    matrix = torch.randn(LATENTS, D_MODEL, generator=generator)
    dense = torch.zeros(TOKENS, LATENTS).scatter(1, latents.long(), values)
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(products.mix_rows(values, latents, matrix), dense @ matrix, **close)
    torch.testing.assert_close(products.gather_rows(values, latents, states, LATENTS), dense.T @ states, **close)
    sampled = (states @ matrix.T).gather(1, latents.long())
    torch.testing.assert_close(products.dot_rows(states, latents, matrix), sampled, **close)
    torch.testing.assert_close(sum_values(values, latents, LATENTS), dense.sum(0), **close)


@every_object
def test_rows_without_value_are_skipped(products):
    generator = torch.Generator().manual_seed(6)
    values = torch.randn(TOKENS, K, generator=generator).relu()
    latents = torch.randint(LATENTS, (TOKENS, K), generator=generator).int()
    states, matrix = (
        torch.randn(TOKENS, D_MODEL, generator=generator),
        torch.randn(LATENTS, D_MODEL, generator=generator),
    )
    expected = (states @ matrix.T).gather(1, latents.long()) * (values > 0)
    torch.testing.assert_close(
        products.dot_active_rows(values, states, latents, matrix), expected, rtol=1e-5, atol=1e-5
    )


@every_object
@pytest.mark.parametrize("d_model", [D_MODEL, 300])
def test_errors_of_prefixes_equal_autograds(products, d_model, monkeypatch):
    """Over several blocks of columns, and over several chunks of tokens."""
    monkeypatch.setattr(plain, "_GATHERED", 4 * K * d_model)
    generator = torch.Generator().manual_seed(7)
    target = torch.randn(TOKENS, d_model, generator=generator).requires_grad_()
    values = torch.randn(TOKENS, K, generator=generator).abs().requires_grad_()
    latents = torch.stack([torch.randperm(LATENTS, generator=generator)[:K] for _ in range(TOKENS)]).int()
    matrix = torch.randn(LATENTS, d_model, generator=generator).requires_grad_()
    rests = target[:, None] - (values[:, :, None] * matrix[latents.long()]).cumsum(1)
    expected = rests.pow(2).sum(2).mean()
    expected.backward()
    found = products.prefix_errors(target.detach(), values.detach(), latents, matrix.detach())
    torch.testing.assert_close(found.error, expected.detach(), rtol=1e-5, atol=0)
    torch.testing.assert_close(found.rest, rests[:, -1].detach(), rtol=1e-4, atol=1e-5)
    for name, tensor in (("grad_target", target), ("grad_values", values), ("grad_matrix", matrix)):
        torch.testing.assert_close(getattr(found, name), tensor.grad, rtol=1e-4, atol=1e-5, msg=name)


def test_sums_of_prefixes_are_alike_everywhere():
    generator = torch.Generator().manual_seed(8)
    target, matrix = (torch.randn(rows, 300, generator=generator) for rows in (TOKENS, LATENTS))
    values = torch.randn(TOKENS, K, generator=generator).abs()
    latents = torch.stack([torch.randperm(LATENTS, generator=generator)[:K] for _ in range(TOKENS)]).int()
    expected, *others = (products.prefix_sums(target, values, latents, matrix) for products in PRODUCTS.values())
    for found in others:
        for ours, other in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-3)
