"""What stands before every parser."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from saelex.errors import InputError, MismatchError
from saelex.reading.regular import file_within, is_folder, is_here, one_error, regular_file


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "file").touch()
    (tmp_path / "good").symlink_to("file")
    assert regular_file(tmp_path / "good") == tmp_path / "good"
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(InputError, match="not a regular file"):
            regular_file(path)
    for path in (tmp_path / "link", tmp_path / "none"):
        with pytest.raises(InputError, match="no such file"):
            regular_file(path)
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(InputError, match="cannot be read"):
            regular_file(tmp_path / name)
        assert not is_here(name) and not is_folder(name)


class PanicException(BaseException):
    """As parsers written in Rust raise it."""


@pytest.mark.parametrize(
    "raised", [ValueError("a\nb"), RecursionError(), MemoryError(), PanicException("x"), KeyError("k")]
)
def test_whatever_a_parser_raises_is_one_error(raised: BaseException) -> None:
    with (
        pytest.raises(InputError, match=r"^f is damaged, or not a thing \(.+\); mend it$"),
        one_error("f", "a thing", "mend it"),
    ):
        raise raised


def test_what_is_ours_or_the_users_passes() -> None:
    for raised in (MismatchError("x"), KeyboardInterrupt(), SystemExit()):
        with pytest.raises(type(raised)), one_error("f", "a thing"):
            raise raised


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b", "a\0", "a\\b"])
def test_a_file_names_files_of_its_own_folder_only(name: str, tmp_path: Path) -> None:
    assert file_within(tmp_path, "a/b.json", "f") == tmp_path / "a" / "b.json"
    assert file_within(tmp_path, "", "f") == tmp_path
    with pytest.raises(InputError, match="no file of its own folder"):
        file_within(tmp_path, name, "f")
