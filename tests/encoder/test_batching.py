from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from saelex.encoder.batching import DistinctTexts, pack, pad, token_budget_batches, unpack_positions, windows
from saelex.encoder.tokens import TokenizedText
from saelex.vectors import SparseRows


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 2000))
def test_every_text_with_tokens_is_in_one_batch_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(token_budget_batches(lengths, budget))
    assert sorted(i for batch in batches for i in batch) == [i for i, length in enumerate(lengths) if length]
    sizes = [[lengths[i] for i in batch] for batch in batches]
    assert all(max(size) * len(size) <= budget or len(size) == 1 for size in sizes)
    flat = [length for size in sizes for length in size]
    assert flat == sorted(flat, reverse=True)


def test_texts_of_equal_length_keep_their_order() -> None:
    assert [batch.tolist() for batch in token_budget_batches([2, 3, 2, 0, 2], 4)] == [[1], [0, 2], [4]]


def test_a_batch_has_no_more_texts_than_allowed() -> None:
    assert [batch.tolist() for batch in token_budget_batches([1] * 5, 100, most_texts=2)] == [[0, 1], [2, 3], [4]]


@given(st.lists(st.integers(), max_size=20), st.integers(1, 7))
def test_windows_are_consecutive(items: list[int], size: int) -> None:
    parts = list(windows(iter(items), size))
    assert [item for part in parts for item in part] == items
    assert all(len(part) == size for part in parts[:-1])


def test_distinct_texts_know_their_copies() -> None:
    distinct = DistinctTexts.of(["b", "a", "b", "c", "b", "a"])
    assert distinct.texts == ["b", "a", "c"]
    assert (distinct.copies.tolist(), distinct.which.tolist()) == ([3, 2, 1], [0, 1, 0, 2, 0, 1])
    parts = [(part.texts, part.copies.tolist(), part.which.tolist()) for part in distinct.windows(2)]
    assert parts == [(["b", "a"], [3, 2], [0, 1]), (["c"], [1], [0])]
    assert DistinctTexts.of([]).texts == [] and len(DistinctTexts.of([]).copies) == 0


def text(*ids: int, pooled: str) -> TokenizedText:
    return TokenizedText(np.array(ids, np.int64), np.array([mark == "x" for mark in pooled], np.bool_))


TEXTS = [text(5, 6, 7, pooled="-x-"), text(8, pooled="x"), text(pooled=""), text(9, 4, pooled="xx")]


def test_pad_fills_up_on_the_right_and_never_attends_to_nothing() -> None:
    batch = pad(TEXTS, pad_id=1)
    assert batch.input_ids.tolist() == [[5, 6, 7], [8, 1, 1], [1, 1, 1], [9, 4, 1]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 0, 0], [1, 0, 0], [1, 1, 0]]
    assert batch.pooled.tolist() == [[False, True, False], [True, False, False], [False] * 3, [True, True, False]]
    assert pad([TEXTS[2]], pad_id=1).input_ids.tolist() == [[1]]


def test_pack_keeps_pooled_tokens_in_order() -> None:
    hidden = torch.arange(24.0).reshape(4, 3, 2)
    packed = pack(hidden, pad(TEXTS, 0).pooled)
    assert packed.hidden.tolist() == [[2, 3], [6, 7], [18, 19], [20, 21]]
    assert packed.offsets.tolist() == [0, 1, 2, 2, 4]
    assert packed.positions.tolist() == [1, 0, 0, 1]


def test_pack_leaves_out_tokens_of_high_norm() -> None:
    hidden = torch.ones(4, 3, 2)
    hidden[3, 0] = 100.0
    packed = pack(hidden.bfloat16(), pad(TEXTS, 0).pooled, sink_norm=10.0)
    assert packed.offsets.tolist() == [0, 1, 2, 2, 3]
    assert packed.positions.tolist() == [1, 0, 1]
    at_the_limit = pack(hidden, pad(TEXTS, 0).pooled, sink_norm=float(hidden[3, 0].norm()))
    assert at_the_limit.offsets.tolist() == [0, 1, 2, 2, 4]


def test_positions_become_those_of_the_text() -> None:
    packed = pack(torch.zeros(4, 3, 2), pad(TEXTS, 0).pooled)
    rows = SparseRows.build([0, 2, 2, 2, 4], [0, 3, 1, 2], [1.0, 2.0, 3.0, 4.0], 5, [0, -1, 1, 0])
    assert unpack_positions(rows, packed).positions.tolist() == [1, -1, 1, 0]
