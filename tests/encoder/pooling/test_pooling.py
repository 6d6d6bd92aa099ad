from __future__ import annotations

import pytest
import torch
from tests.encoder.pooling.problems import LENGTHS, make_head, make_hidden, offsets_of

from saelex.encoder.pooling import pool, pool_rows
from saelex.errors import InputError


def test_fused_is_the_default():
    head, hidden, offsets = make_head("relu"), make_hidden(LENGTHS), offsets_of(LENGTHS)
    assert torch.equal(pool(hidden, offsets, head).weights, pool(hidden, offsets, head, "fused").weights)


@pytest.mark.parametrize("function", [pool, pool_rows])
def test_an_unknown_implementation_is_named(function):
    with pytest.raises(InputError, match="reference, fused, cpu, cuda, triton, torch, not 'quick'"):
        function(make_hidden([3]), offsets_of([3]), make_head("relu"), implementation="quick")


@pytest.mark.parametrize("function", [pool, pool_rows])
def test_another_devices_implementation_is_refused(function):
    with pytest.raises(InputError, match="'cuda' reads tensors on a cuda device"):
        function(make_hidden([3]), offsets_of([3]), make_head("relu"), implementation="cuda")


@pytest.mark.parametrize("function", [pool, pool_rows])
@pytest.mark.parametrize(
    ("hidden", "offsets", "message"),
    [
        (torch.zeros(1, 3, 24), torch.tensor([0, 3]), "packed tokens"),
        (torch.zeros(3, 25), torch.tensor([0, 3]), "tokens, 24"),
        (torch.zeros(3, 24, dtype=torch.int64), torch.tensor([0, 3]), "int64"),
        (torch.zeros(3, 24), torch.tensor([0.0, 3.0]), "whole numbers"),
        (torch.zeros(3, 24), torch.tensor([], dtype=torch.int64), "one more than"),
        (torch.zeros(3, 24), torch.tensor([0, 2]), "number of tokens, 3"),
        (torch.zeros(3, 24), torch.tensor([1, 3]), "rise from 0"),
        (torch.zeros(3, 24), torch.tensor([0, 2, 1, 3]), "rise from 0"),
    ],
)
def test_what_is_not_a_packed_batch_is_refused(function, hidden, offsets, message):
    with pytest.raises(InputError, match=message):
        function(hidden, offsets, make_head("relu"))


def test_offsets_may_be_int32():
    head, hidden, offsets = make_head("relu"), make_hidden(LENGTHS), offsets_of(LENGTHS)
    assert torch.equal(pool(hidden, offsets.int(), head).weights, pool(hidden, offsets, head).weights)
