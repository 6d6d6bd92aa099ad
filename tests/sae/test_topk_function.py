import pytest
import torch

from saelex.sae.products import Spares
from saelex.sae.topk_function import decode_topk, encode_topk, largest_of_matrix
from saelex.selection import top_k_rows

TOKENS, D_MODEL, LATENTS, K, AUX_K = 37, 12, 90, 5, 7


def parameters(seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    tensors = {
        "states": normal(TOKENS, D_MODEL),
        "b_dec": normal(D_MODEL) * 0.3,
        "W_enc": normal(D_MODEL, LATENTS),
        "b_enc": normal(LATENTS) * 0.3 - 0.5,
        "W_dec": normal(LATENTS, D_MODEL),
    }
    return {name: tensor.requires_grad_() for name, tensor in tensors.items()}


def plain(states, b_dec, W_enc, b_enc, W_dec, dead):
    """The same loss by torch's own autograd: reconstruction plus 1/16 AuxK over the dead latents."""
    pre = (states - b_dec) @ W_enc + b_enc
    latents = torch.zeros_like(pre).scatter(1, pre.topk(K).indices, 1.0) * pre.relu()
    reconstruction = latents @ W_dec + b_dec
    loss = ((states - reconstruction) ** 2).sum(-1).mean()
    pre_dead = pre[:, dead]
    dead_latents = torch.zeros_like(pre_dead).scatter(1, pre_dead.topk(AUX_K).indices, 1.0) * pre_dead.relu()
    error = states - reconstruction.detach()
    return loss + ((error - dead_latents @ W_dec[dead]) ** 2).sum(-1).mean() / 16


def sparse(states, b_dec, W_enc, b_enc, W_dec, dead, bfloat16=False):
    codes = encode_topk(states, b_dec, W_enc, b_enc, K, dead=dead, aux_k=AUX_K, bfloat16=bfloat16)
    reconstruction = decode_topk(codes.values, codes.latents, W_dec) + b_dec
    loss = ((states - reconstruction) ** 2).sum(-1).mean()
    rebuilt = decode_topk(codes.dead_values, codes.dead_latents, W_dec)
    return loss + ((states - reconstruction.detach() - rebuilt) ** 2).sum(-1).mean() / 16


@pytest.mark.parametrize("bfloat16", [False, True])
def test_loss_and_gradients_equal_plain_autograd(bfloat16):
    dead = torch.arange(3, LATENTS, 4)
    ours, reference = parameters(), parameters()
    loss = sparse(**ours, dead=dead, bfloat16=bfloat16)
    expected = plain(**reference, dead=dead)
    loss.backward()
    expected.backward()
    # a bfloat16 proposal may swap two dead latents at the boundary of AuxK, never a live one
    torch.testing.assert_close(loss, expected, rtol=2e-3 if bfloat16 else 1e-5, atol=0)
    for name, tensor in ours.items():
        tolerance = 0.05 * reference[name].grad.abs().max() if bfloat16 else 1e-5
        torch.testing.assert_close(tensor.grad, reference[name].grad, rtol=1e-4, atol=float(tolerance), msg=name)


def test_bfloat16_proposals_end_in_float32_codes():
    tensors = {name: tensor.detach() for name, tensor in parameters(1).items()}
    arguments = [tensors[name] for name in ("states", "b_dec", "W_enc", "b_enc")]
    exact, proposed = encode_topk(*arguments, K), encode_topk(*arguments, K, bfloat16=True)
    assert torch.equal(exact.latents, proposed.latents)
    torch.testing.assert_close(exact.values, proposed.values, rtol=1e-5, atol=1e-6)


def test_a_latent_kept_with_a_negative_pre_activation_gives_nothing():
    tensors = {name: tensor.detach() for name, tensor in parameters().items()}
    b_enc = torch.full((LATENTS,), -100.0, requires_grad=True)
    codes = encode_topk(tensors["states"], tensors["b_dec"], tensors["W_enc"], b_enc, K)
    assert not codes.values.any()
    codes.values.sum().backward()
    assert not b_enc.grad.any()


def test_fewer_dead_latents_than_aux_k_are_all_taken():
    tensors = {name: tensor.detach() for name, tensor in parameters().items()}
    arguments = [tensors[name] for name in ("states", "b_dec", "W_enc", "b_enc")]
    codes = encode_topk(*arguments, K, dead=torch.tensor([8, 50]), aux_k=AUX_K)
    assert codes.dead_latents.sort(dim=1).values.unique(dim=0).tolist() == [[8, 50]]


def test_batch_codes_by_bfloat16_proposals_are_those_of_float32():
    tensors = {name: tensor.detach() for name, tensor in parameters(2).items()}
    tensors["states"][:2] *= 10
    arguments = [tensors[name] for name in ("states", "b_dec", "W_enc", "b_enc")]
    exact, proposed = (encode_topk(*arguments, K, over_batch=True, bfloat16=rounded) for rounded in (False, True))
    assert int((exact.values > 0).sum()) == K * TOKENS and exact.values.shape[1] > 2 * K

    def dense(codes):
        return torch.zeros(TOKENS, LATENTS).scatter_add(1, codes.latents.long(), codes.values)

    torch.testing.assert_close(dense(exact), dense(proposed), rtol=1e-5, atol=1e-5)


def test_gradients_in_used_memory_are_the_same_and_in_that_memory():
    torch.manual_seed(0)
    states, pre_bias = torch.randn(20, 6), torch.randn(6)
    W_enc, W_dec = torch.randn(30, 6).T.requires_grad_(), torch.randn(30, 6, requires_grad=True)
    spares, places, gradients = Spares(), [], []
    for _ in range(3):
        codes = encode_topk(states, pre_bias, W_enc, torch.zeros(30), 4, spares=spares)
        decode_topk(codes.values, codes.latents, W_dec, spares).pow(2).sum().backward()
        gradients.append([W_enc.grad.clone(), W_dec.grad.clone()])
        places.append({W_enc.grad.data_ptr(), W_dec.grad.data_ptr()})
        for matrix in (W_enc, W_dec):
            gradient, matrix.grad = matrix.grad.fill_(torch.nan), None
            spares.give(gradient)
            del gradient
    assert places[0] == places[1] == places[2]
    for again in gradients[1:]:
        for one, other in zip(gradients[0], again):
            assert torch.equal(one, other)


@pytest.mark.parametrize("seed", range(4))
def test_the_largest_of_a_matrix_are_found_from_few_candidates_per_row(seed):
    """Against torch.topk over the whole matrix, where one row holds far more than its share, and one none."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(30, 200, generator=generator)
    matrix[4] = matrix[4].abs() + 5
    matrix[9] *= -matrix[9].sign()
    matrix[seed + 10] += 1
    k, asked = 6, []

    def candidates(rows, count):
        asked.append((rows.tolist(), count))
        best, columns = top_k_rows(matrix[rows], count)
        return best.relu(), columns

    values, columns = candidates(torch.arange(30), 2 * k)
    kept, where = largest_of_matrix(values, columns, k * 30, 200, candidates)
    found = torch.zeros_like(matrix).scatter_add(1, where.long(), kept)
    best = matrix.flatten().topk(k * 30)
    assert torch.equal(found, torch.zeros(30 * 200).scatter(0, best.indices, best.values).view(30, 200))
    assert kept.shape[1] == (found > 0).sum(1).max()
    assert all(4 in rows and 9 not in rows for rows, _ in asked[1:])
    assert [count for _, count in asked] == [12, 24, 48, 96, 192, 200][: len(asked)] and len(asked) >= 4


def test_fewer_positive_entries_than_wanted_are_all_kept():
    matrix = -torch.ones(5, 40)
    matrix[0, 3:9] = torch.arange(1.0, 7.0)
    matrix[2, 30] = 0.5

    def candidates(rows, count):
        best, columns = top_k_rows(matrix[rows], count)
        return best.relu(), columns

    kept, columns = largest_of_matrix(*candidates(torch.arange(5), 4), 10, 40, candidates)
    assert torch.equal(torch.zeros(5, 40).scatter_add(1, columns.long(), kept), matrix.relu())
    nothing, _ = largest_of_matrix(torch.zeros(5, 4), torch.zeros(5, 4, dtype=torch.int32), 10, 40, candidates)
    assert nothing.shape == (5, 1) and not nothing.any()
