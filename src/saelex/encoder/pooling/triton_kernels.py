"""Triton's kernels of the head; `triton` launches them. Imported only where Triton is installed.

Products are taken a tile of tokens x latents at a time, on tensor cores with float32 sums, and reduced in registers as
soon as they are made: no product reaches memory. Numbers are compared as integers of the same order (`_ordered`), in
which NaN is the largest, so that a broken hidden state shows in the result instead of vanishing.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl

_LOWEST = tl.constexpr(-(2**31))  # below -inf's integer: no product at all
_NO_ENTRY = tl.constexpr(-(2**63))


@triton.jit(do_not_specialize=["n_sequences", "per_run"])
def linear_max(
    hidden,
    weight,
    offsets,
    maxima,
    tokens,
    n_sequences,
    n_latents,
    d_model,
    per_run,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
    DESCRIBED: tl.constexpr,
):
    """The largest product of every latent over each sequence's tokens, and its token, both [sequences, latents].

    A program has `per_run` whole sequences and BLOCK_N latents; a tile of tokens may end one sequence and begin the
    next, so that nothing is padded but the last tile of a run. For hidden, weight and DESCRIBED see `_products`.
    """
    n_runs = tl.cdiv(n_sequences, per_run)
    run, tile = _place(tl.program_id(0), n_runs, tl.cdiv(n_latents, BLOCK_N), GROUP)
    sequence = run * per_run
    last = tl.minimum(sequence + per_run, n_sequences)
    start = tl.load(offsets + sequence)
    stop = tl.load(offsets + last)
    latents = tile * BLOCK_N + tl.arange(0, BLOCK_N)
    best = tl.full([BLOCK_N], _LOWEST, tl.int32)  # of the sequence that the tile begins in
    where = tl.full([BLOCK_N], -1, tl.int32)
    for first in range(start, tl.maximum(stop, start + 1), BLOCK_M):  # one tile even for sequences without tokens
        rows = first + tl.arange(0, BLOCK_M)
        sums = _products(
            hidden, weight, rows, first, stop, latents, tile * BLOCK_N, n_latents, d_model, BLOCK_K, DESCRIBED
        )
        products = _ordered(sums)
        end = tl.minimum(first + BLOCK_M, stop)
        begin = tl.load(offsets + sequence)
        finish = tl.load(offsets + sequence + 1)
        more = sequence < last
        while more:
            inside = (rows >= begin) & (rows < tl.minimum(finish, end))
            here = tl.where(inside[:, None], products, _LOWEST)
            top = tl.max(here, 0)
            at = tl.min(tl.where(here == top[None, :], rows[:, None], 2**31 - 1), 0)  # of equal tokens the first
            larger = top > best
            best = tl.where(larger, top, best)
            where = tl.where(larger, at - begin, where)
            more = finish <= end
            if more:  # the sequence ends in this tile
                cells = sequence.to(tl.int64) * n_latents + latents
                found = tl.where(best == _LOWEST, float("-inf"), _number(best))
                tl.store(maxima + cells, found, mask=latents < n_latents)
                tl.store(tokens + cells, where, mask=latents < n_latents)
                best = tl.full([BLOCK_N], _LOWEST, tl.int32)
                where = tl.full([BLOCK_N], -1, tl.int32)
                sequence += 1
                begin = finish
                finish = tl.load(offsets + tl.minimum(sequence + 1, n_sequences))
                more = (sequence < last) & ((begin < end) | (finish <= end))


@triton.jit(do_not_specialize=["n_tokens", "per_part"])
def token_topk(
    hidden,
    weight,
    bias,
    scale,
    kept,
    n_tokens,
    n_latents,
    d_model,
    k,
    per_part,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
    SLOTS: tl.constexpr,
    DESCRIBED: tl.constexpr,
):
    """The k largest scale * (product + bias) of each token in each part of the latents, int64 [tokens, parts, k].

    An entry is the value's integer above the complement of its latent, so that of equal values the lower latent is the
    larger entry; `2**32 - 1 - latent` is its lower half. They come in no order; a part with fewer than k latents fills
    up with entries below every value's. A program has BLOCK_M tokens and `per_part` latents, a multiple of BLOCK_N, and
    keeps its tokens' entries in SLOTS >= k registers, a power of 2.
    """
    parts = tl.cdiv(n_latents, per_part)
    part, tile = _place(tl.program_id(0), parts, tl.cdiv(n_tokens, BLOCK_M), GROUP)
    rows = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    slots = tl.arange(0, SLOTS).to(tl.int64)
    # distinct, so that one entry replaces one; slots beyond k are never the least
    empty = tl.where(slots < k, _NO_ENTRY + slots, 2**63 - 1)
    best = tl.broadcast_to(empty[None, :], [BLOCK_M, SLOTS])
    start = part * per_part
    for first in range(start, tl.minimum(start + per_part, n_latents), BLOCK_N):
        latents = first + tl.arange(0, BLOCK_N)
        products = _products(
            hidden, weight, rows, tile * BLOCK_M, n_tokens, latents, first, n_latents, d_model, BLOCK_K, DESCRIBED
        )
        some = latents < n_latents
        biases = tl.load(bias + latents, mask=some, other=0.0)
        scales = tl.load(scale + latents, mask=some, other=0.0)
        pre = tl.where(some[None, :], _ordered((products + biases[None, :]) * scales[None, :]), _LOWEST)
        more = first < n_latents
        while more:  # a tile's largest, one a token: after the first tiles few are left
            top = tl.max(pre, 1)
            at = tl.min(tl.where(pre == top[:, None], latents[None, :], 2**31 - 1), 1)
            entry = (top.to(tl.int64) << 32) | (0xFFFFFFFF - at.to(tl.int64))
            least = tl.min(best, 1)
            enters = (top > _LOWEST) & (entry > least)
            best = tl.where(enters[:, None] & (best == least[:, None]), entry[:, None], best)
            pre = tl.where(latents[None, :] == at[:, None], _LOWEST, pre)
            more = tl.max(enters.to(tl.int32), 0) > 0
    cells = (rows.to(tl.int64)[:, None] * parts + part) * k + slots[None, :]
    tl.store(kept + cells, best, mask=(rows < n_tokens)[:, None] & (slots < k)[None, :])


@triton.jit
def sum_rows(
    source,
    rows,
    values,
    indptr,
    total,
    width,
    BLOCK_E: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """total[i] = the sum of values[e] * source[rows[e]] over the entries e in indptr[i]:indptr[i + 1], in their order.

    source, total: [any number, width]. Summed in the dtype of values, BLOCK_E entries at a time; without atomic
    additions, so that equal inputs give equal sums.
    """
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    inside = columns < width
    sums = tl.zeros([BLOCK_D], values.dtype.element_ty)
    stop = tl.load(indptr + row + 1)
    for first in range(tl.load(indptr + row), stop, BLOCK_E):
        entries = first + tl.arange(0, BLOCK_E)
        some = entries < stop
        at = tl.load(rows + entries, mask=some, other=0)
        factors = tl.load(values + entries, mask=some, other=0.0)
        cells = at[:, None] * width + columns[None, :]
        numbers = tl.load(source + cells, mask=some[:, None] & inside[None, :], other=0.0)
        sums += tl.sum(factors[:, None] * numbers.to(sums.dtype), 0)
    tl.store(total + row * width + columns, sums.to(total.dtype.element_ty), mask=inside)


@triton.jit
def _products(
    hidden,
    weight,
    rows,
    token,
    n_tokens,
    latents,
    latent,
    n_latents,
    d_model,
    BLOCK_K: tl.constexpr,
    DESCRIBED: tl.constexpr,
):
    """hidden[rows] . weight[latents], float32 [rows, latents]; what is beyond the matrices is for the caller to mask.

    rows run from `token`, latents from `latent`. DESCRIBED: hidden [tokens, d_model] and weight [latents, d_model] are
    tensor descriptors, with blocks as large as a tile and BLOCK_K columns, which GPUs from Hopper on copy by
    themselves; else they are pointers.
    """
    sums = tl.zeros([rows.shape[0], latents.shape[0]], tl.float32)
    columns = tl.arange(0, BLOCK_K)
    if not DESCRIBED:
        our_rows = hidden + tl.maximum(tl.minimum(rows, n_tokens - 1), 0).to(tl.int64)[:, None] * d_model
        their_rows = weight + tl.minimum(latents, n_latents - 1).to(tl.int64)[:, None] * d_model
    for k in range(0, d_model, BLOCK_K):
        if DESCRIBED:
            ours = hidden.load([token, k])
            theirs = weight.load([latent, k])
        else:
            inside = (k + columns < d_model)[None, :]
            ours = tl.load(our_rows + (k + columns)[None, :], mask=inside, other=0.0)
            theirs = tl.load(their_rows + (k + columns)[None, :], mask=inside, other=0.0)
        sums = tl.dot(ours, theirs.to(ours.dtype).T, sums, input_precision="ieee")
    return sums


@triton.jit
def _place(program, n_runs, n_tiles, GROUP: tl.constexpr):
    """(run, tile) of a program: GROUP tiles go through all runs before the next GROUP.

    What runs at once then shares few runs and few tiles, and finds most of both in the second-level cache.
    """
    group = program // (GROUP * n_runs)
    size = tl.minimum(n_tiles - group * GROUP, GROUP)
    inside = program % (GROUP * n_runs)
    return inside // size, group * GROUP + inside % size


@triton.jit
def _ordered(numbers):
    """int32 in the order of these float32: negative ones below positive ones, -0 as 0, every NaN above all."""
    bits = (numbers + 0.0).to(tl.int32, bitcast=True)
    bits = tl.where(numbers == numbers, bits, 0x7FC00000)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def _number(ordered):
    """The float32 of `_ordered`."""
    return (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)
