import math
from pathlib import Path

import pytest
import torch

from saelex.errors import InputError
from saelex.sae.formats import common
from saelex.sae.formats.common import is_finite, take


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (1,), (1000,), (70, 30), (3, 4, 5), (0,), (0, 4)])
def test_finite_until_one_number_is_not(monkeypatch, dtype, shape):
    monkeypatch.setattr(common, "_NUMBERS_AT_A_TIME", 100)
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert is_finite(tensor)
    for value in (math.nan, math.inf, -math.inf):
        for place in {0, tensor.numel() // 2, tensor.numel() - 1} if tensor.numel() else ():
            damaged = tensor.clone()
            damaged.view(-1)[place] = value
            assert not is_finite(damaged)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_sum_that_overflows_is_no_infinity(dtype):
    largest = torch.full((300, 7), torch.finfo(dtype).max, dtype=dtype)
    assert is_finite(largest)
    largest[4, 4] = math.inf
    largest[5, 5] = -math.inf
    assert not is_finite(largest)


def test_taken_once_from_what_reads_on_demand():
    reads = []

    class Counting(dict):
        def __getitem__(self, name):
            reads.append(name)
            return super().__getitem__(name)

    tensors = Counting(a=torch.ones(2), b=torch.zeros(3), c=torch.zeros(4))
    take(tensors, ["a", "c"], Path("file"))
    assert reads == ["a", "c"]
    with pytest.raises(InputError, match=r"file: lacks d \(it holds a, b, c\)"):
        take(tensors, ["a", "d"], Path("file"))
    with pytest.raises(InputError, match=r"a holds torch\.int64 numbers"):
        take({"a": torch.ones(2, dtype=torch.int64)}, ["a"], Path("file"))
