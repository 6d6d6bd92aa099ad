from pathlib import Path

import pytest
import torch

from saelex.errors import InputError
from saelex.sae.formats.common import take


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
