from __future__ import annotations

import pytest
import torch
from tests.encoder.pooling.problems import LENGTHS, offsets_of

from saelex.encoder.pooling.segments import segment_max, segment_max_torch, segment_sum


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("function", [segment_max, segment_max_torch])
def test_maxima_and_first_tokens(function, dtype):
    width, start = 1100, 3
    torch.manual_seed(0)
    block = torch.randint(-4, 4, (sum(LENGTHS), width)).to(dtype)  # many ties
    maxima = torch.full((len(LENGTHS), start + width + 2), 77.0, dtype=dtype)
    tokens = torch.full(maxima.shape, 77, dtype=torch.int32)
    function(block, offsets_of(LENGTHS), maxima, tokens, start)
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


@pytest.mark.parametrize("function", [segment_max, segment_max_torch])
def test_nan_is_not_lost(function):
    block = torch.zeros(4, 3)
    block[1, 1] = torch.nan
    maxima, tokens = torch.empty(2, 3), torch.empty(2, 3, dtype=torch.int32)
    function(block, torch.tensor([0, 3, 4]), maxima, tokens, 0)
    assert maxima.isnan().tolist() == [[False, True, False], [False, False, False]]
    assert tokens.min() >= 0
    assert tokens.max() <= 2


def test_sums():
    torch.manual_seed(0)
    block, total = torch.randn(sum(LENGTHS), 40), torch.full((len(LENGTHS), 50), 77.0)
    segment_sum(block, offsets_of(LENGTHS), total, 5)
    expected = torch.stack([rows.sum(0) for rows in block.split(LENGTHS)])
    torch.testing.assert_close(total[:, 5:45], expected)
    assert (total[:, 45:] == 77).all()
