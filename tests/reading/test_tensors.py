"""Files of tensors: only tensors are read, in the file's memory where it can be, and only sane numbers."""

import math
import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from saelex.errors import InputError
from saelex.reading.tensors import SafetensorsFile, is_sane, read_pt

TENSORS = {"W": torch.arange(12.0).reshape(3, 4), "b": torch.ones(3).bfloat16()}


class Code:
    """What runs a command when it is unpickled."""

    def __init__(self, made):
        self.made = made

    def __reduce__(self):
        return os.mkdir, (str(self.made),)


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_come_back_by_name(zipped, tmp_path):
    path = tmp_path / "a.pt"
    torch.save(OrderedDict(TENSORS, step=3), path, _use_new_zipfile_serialization=zipped)
    held = read_pt(path)
    assert list(held) == ["W", "b"]  # a number is no tensor
    for name, tensor in TENSORS.items():
        assert torch.equal(held[name], tensor) and held[name].dtype == tensor.dtype


def test_a_zipped_file_is_mapped(tmp_path):
    """Written over in place, the file shows in tensors that were read before."""
    path = tmp_path / "a.pt"
    torch.save(TENSORS, path)
    held = read_pt(path)["W"]
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(content.index(TENSORS["W"].numpy().tobytes()))
        file.write(struct.pack("<f", 77.0))
    assert held[0, 0] == 77


@pytest.mark.parametrize("zipped", [True, False, None])
def test_code_is_refused_and_not_run(zipped, tmp_path):
    path, made = tmp_path / "a.pt", tmp_path / "made"
    held = {**TENSORS, "more": Code(made)}
    if zipped is None:
        path.write_bytes(pickle.dumps(held, protocol=2))
    else:
        torch.save(held, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"a\.pt: holds more than tensors .*safetensors") as error:
        read_pt(path)
    assert not made.exists()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_short_is_refused(zipped, tmp_path):
    path = tmp_path / "a.pt"
    torch.save(TENSORS, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for kept in (0, 1, 5, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(InputError, match="not a readable PyTorch file") as error:
            read_pt(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("held", [[torch.ones(3)], torch.ones(3), {"k": 3}, {3: torch.ones(3)}, {}])
def test_what_is_no_dictionary_of_tensors_is_refused(held, tmp_path):
    torch.save(held, tmp_path / "a.pt")
    with pytest.raises(InputError, match="does not hold a dictionary of tensors"):
        read_pt(tmp_path / "a.pt")


def test_a_missing_file_is_refused():
    with pytest.raises(InputError, match=r"nowhere\.pt: no such file"):
        read_pt(Path("nowhere.pt"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (1,), (1000,), (70, 30), (3, 4, 5), (0,), (0, 4)])
def test_sane_until_one_number_is_not(dtype, shape):
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert is_sane(tensor)
    huge = [] if dtype is torch.float16 else [1e16, -1e30]
    for value in (math.nan, math.inf, -math.inf, *huge):
        for place in {0, tensor.numel() // 2, tensor.numel() - 1} if tensor.numel() else ():
            damaged = tensor.clone()
            damaged.view(-1)[place] = value
            assert not is_sane(damaged)


def test_the_largest_of_half_precision_is_a_weight():
    """Their sum would be infinite; they are not."""
    largest = torch.full((300, 7), torch.finfo(torch.float16).max, dtype=torch.float16)
    assert is_sane(largest)
    largest[4, 4], largest[5, 5] = math.inf, -math.inf
    assert not is_sane(largest)


def test_a_flipped_bit_fails_the_checksum(tmp_path):
    path = tmp_path / "a.pt"
    torch.save(TENSORS, path)
    whole = bytearray(path.read_bytes())
    whole[whole.index(TENSORS["W"].numpy().tobytes()) + 5] ^= 16
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"a\.pt is damaged.*checksum of .* differs"):
        read_pt(path)


def test_one_number_under_a_stride_of_zero_is_no_matrix(tmp_path):
    torch.save({"W": torch.ones(1, 1).expand(100_000, 100_000)}, tmp_path / "a.pt")
    with pytest.raises(InputError, match="claims more numbers than the file holds"):
        read_pt(tmp_path / "a.pt")


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int64, torch.bool, torch.complex64])
def test_what_no_weights_are_stored_as(dtype, tmp_path):
    save_file({"W": torch.ones(2, 2).to(dtype)}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"a\.safetensors: W holds torch\.\w+ numbers, not weights"):
        SafetensorsFile(tmp_path / "a.safetensors").weights("W")


def test_a_safetensors_file_is_read_on_demand(tmp_path):
    save_file(TENSORS, tmp_path / "a.safetensors", metadata={"format": "pt"})
    held = SafetensorsFile(tmp_path / "a.safetensors")
    assert sorted(held) == ["W", "b"] and held.metadata == {"format": "pt"}
    assert torch.equal(held.weights("W"), TENSORS["W"])
    with pytest.raises(InputError, match=r"a\.safetensors: lacks c"):
        held.weights("c")
