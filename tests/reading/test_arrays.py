"""numpy's files: damage is one error, and nothing is allocated that the file does not hold."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from saelex.errors import InputError
from saelex.reading.arrays import Npz, read_npy


@pytest.mark.parametrize("compressed", [False, True])
def test_a_flipped_bit_fails_the_checksum(compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    (np.savez_compressed if compressed else np.savez)(path, W=np.arange(64.0, dtype=np.float32))
    whole = path.read_bytes()
    assert Npz(path)["W"].tolist() == list(range(64))
    with zipfile.ZipFile(path) as archive:
        place = archive.infolist()[0].header_offset + 30 + len("W.npy") + 20 + (30 if compressed else 180)
    for bit in range(8):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        with pytest.raises(InputError, match=r"a\.npz is damaged, or not a readable npz file"):
            Npz(path)["W"]


def test_a_shape_that_the_file_does_not_hold_is_not_allocated(tmp_path: Path) -> None:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64)
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("W.npy", content)
    for read in (lambda: read_npy(tmp_path / "a.npy"), lambda: Npz(tmp_path / "a.npz")["W"]):
        with pytest.raises(InputError, match="not the size that it claims"):
            read()


def test_objects_and_a_member_twice_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match="Python objects"):
        read_npy(tmp_path / "a.npy")
    with pytest.warns(UserWarning), zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("W.npy", b"")
        archive.writestr("W.npy", b"")
    with pytest.raises(InputError, match="there twice"):
        Npz(tmp_path / "a.npz")
