"""`saelex.encoder.kernels` once more, in plain numpy: for a query's few tokens. The tests hold both together."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.erf import DENOMINATOR, END, NUMERATOR, ROOT

Array = NDArray[Any]


def segment_max(block: Array, offsets: NDArray[np.int64], maxima: Array, tokens: NDArray[np.int32], start: int) -> None:
    """See kernels.segment_max."""
    columns = slice(start, start + block.shape[1])
    for sequence, (first, last) in enumerate(pairwise(offsets.tolist())):
        if first == last:
            maxima[sequence, columns], tokens[sequence, columns] = -np.inf, -1
            continue
        tokens[sequence, columns] = block[first:last].argmax(axis=0)  # of equal ones the first; NaN wins
        maxima[sequence, columns] = block[first:last].max(axis=0)


def segment_sum(block: Array, offsets: NDArray[np.int64], total: Array, start: int) -> None:
    """See kernels.segment_sum."""
    for sequence, (first, last) in enumerate(pairwise(offsets.tolist())):
        total[sequence, start : start + block.shape[1]] = block[first:last].sum(axis=0)


def keep_largest(
    block: Array, bias: Array, scale: Array, values: Array, latents: NDArray[np.int64], start: int
) -> None:
    """See kernels.keep_largest."""
    k = values.shape[1]
    pre = (block + bias) * scale  # [tokens, width]
    floor = values[:, -1:]
    if pre.shape[1] > k:
        floor = np.fmax(floor, np.partition(pre, -k, axis=1)[:, -k, None])
        reaching = ~(pre < floor)
    else:
        reaching = ~(pre <= floor)  # NaN gets in
    for token in np.flatnonzero(reaching.any(axis=1)):
        columns = np.flatnonzero(reaching[token])
        merged = np.concatenate([values[token], pre[token, columns]])
        names = np.concatenate([latents[token], start + columns])
        # what was there is of lower latents, so that a stable order keeps it ahead of an equal value
        best = np.argsort(-np.where(np.isnan(merged), np.inf, merged), kind="stable")[:k]
        values[token], latents[token] = merged[best], names[best]


def strongest(
    values: Array, latents: NDArray[np.int64], offsets: NDArray[np.int64], n_latents: int
) -> NDArray[np.int64]:
    """See kernels.strongest."""
    k = values.shape[1]
    places = np.flatnonzero(~(values <= 0))  # NaN is kept
    found, names = values.reshape(-1)[places], latents.reshape(-1)[places]
    sequence = np.searchsorted(offsets, places // k, side="right") - 1
    order = np.lexsort((-np.where(np.isnan(found), np.inf, found), names, sequence))  # of equal ones the first token
    cells = (sequence * n_latents + names)[order]
    first = np.concatenate([[True], cells[1:] != cells[:-1]])[: len(cells)]
    strongest_first: NDArray[np.int64] = places[order[first]]
    return strongest_first


def active(
    values: Array, tokens: NDArray[np.int32], floor: Array
) -> tuple[NDArray[np.int64], NDArray[np.int32], Array, NDArray[np.int32]]:
    """See kernels.active."""
    above = ~(values <= floor)  # NaN is reported, not dropped
    indptr = np.concatenate([[0], np.cumsum(above.sum(axis=1))]).astype(np.int64)
    return indptr, np.nonzero(above)[1].astype(np.int32), values[above], tokens[above]


def gelu(values: NDArray[np.float32]) -> None:
    """See kernels.gelu."""
    x = np.clip(values * ROOT, -END, END)
    square = x * x
    numerator, denominator = np.full_like(x, NUMERATOR[0]), np.full_like(x, DENOMINATOR[0])
    for polynomial, total in ((NUMERATOR, numerator), (DENOMINATOR, denominator)):
        for coefficient in polynomial[1:]:
            total *= square
            total += coefficient
    numerator *= x
    numerator /= denominator
    numerator += 1
    values *= numerator
    values *= np.float32(0.5)
