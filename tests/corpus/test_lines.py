from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saelex.corpus.lines import max_record, read_whole
from saelex.corpus.reading import read_corpus, read_qrels, read_queries
from saelex.corpus.trec.runs import read_run
from saelex.corpus.trec.topics import read_topics
from saelex.errors import InputError

READERS: dict[str, Callable[[Path], Any]] = {
    "c.jsonl": lambda path: list(read_corpus(path)),
    "c.tsv": lambda path: list(read_corpus(path)),
    "c.csv": lambda path: list(read_corpus(path)),
    "c.md": lambda path: list(read_corpus(path)),
    "c.txt": lambda path: list(read_corpus(path)),
    "q.jsonl": lambda path: list(read_queries(path)),
    "q.qrels": read_qrels,
    "r.trec": read_run,
    "t.xml": lambda path: list(read_topics(path)),
    "t.topics": lambda path: list(read_topics(path)),
}


@pytest.mark.parametrize("name", READERS)
def test_a_line_that_unpacks_beyond_the_bound_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("SAELEX_MAX_RECORD_MB", "1")
    path = tmp_path / f"{name}.gz"
    path.write_bytes(gzip.compress(b"<top>" + b"a" * (1 << 21), 1))
    with pytest.raises(InputError, match=r"of more than 1 MiB; split it, or set SAELEX_MAX_RECORD_MB"):
        READERS[name](path)


def test_the_bound_reads_no_more_than_itself(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl.gz"
    packed = gzip.compress(b"a" * (1 << 22))
    path.write_bytes(packed * 1024)  # 4 GiB in 4 MB
    with pytest.raises(InputError, match="16 MiB"):
        list(read_corpus(path))
    with pytest.raises(InputError, match="16 MiB"):
        read_whole(path)


@pytest.mark.parametrize("setting", ["0", "-1", "x", "1.5", "9" * 30, "²"])
def test_a_bound_that_is_no_size_is_an_error(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv("SAELEX_MAX_RECORD_MB", setting)
    with pytest.raises(InputError, match="a whole number of MiB"):
        max_record()


@pytest.mark.parametrize("name", ["c.jsonl", "c.csv", "c.md", "t.xml"])
def test_pipes_devices_and_folders_are_no_files(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"a pipe or a device|no such topics file"):
        READERS[name](tmp_path / name)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=r"a pipe or a device|no such topics file"):
        READERS[name](tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=r"not a BEIR folder|no such topics file"):
        READERS[name](tmp_path / name)
