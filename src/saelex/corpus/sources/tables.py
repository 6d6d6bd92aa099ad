"""Tables of a data set by config and split, rows as dictionaries: of the hub, or of files named by convention."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from saelex.corpus.lines import read_lines, suffix_of
from saelex.corpus.reading import parse_jsonl
from saelex.corpus.sources.hub import import_datasets, one_clear_error
from saelex.errors import InputError
from saelex.installation import needs_extra

Row = tuple[str, Mapping[str, Any]]
"""Where a row is, such as file:line, and its values by column."""

_JSONL, _PARQUET = {".jsonl", ".ndjson", ".json"}, {".parquet"}
_SHARD = re.compile(r"-\d{5}-of-(\d{5})$")
_BATCH = 1024  # rows of Parquet that are turned into dictionaries at once


class Tables(Protocol):
    """A data set's tables."""

    @property
    def configs(self) -> list[str]: ...

    def splits(self, config: str) -> list[str]: ...

    def rows(self, config: str, split: str) -> Iterator[Row]:
        """Streamed anew at each call."""
        ...


class HubTables:
    """A data set of the hub, or a local copy of one whose README lists its configs; read by `datasets`, streamed."""

    def __init__(self, path: str, revision: str | None = None) -> None:
        self._path, self._revision = path, revision
        self._datasets = import_datasets()

    @cached_property
    def configs(self) -> list[str]:
        with one_clear_error(self._path):
            return list(self._datasets.get_dataset_config_names(self._path, revision=self._revision))

    def splits(self, config: str) -> list[str]:
        with one_clear_error(f"{self._path} {config}"):
            names = self._datasets.get_dataset_split_names(self._path, config, revision=self._revision)
        return [str(name) for name in names]

    def rows(self, config: str, split: str) -> Iterator[Row]:
        name = f"{self._path} {config}"
        with one_clear_error(name):
            dataset = self._datasets.load_dataset(
                self._path, config, split=split, streaming=True, revision=self._revision
            )
            for number, row in enumerate(dataset, start=1):
                yield f"{name}, row {number} of {split}", row


class FileTables:
    """A folder without such a README: a config is a file or a folder of that name, a split is a file of it.

    `corpus.jsonl`, `corpus/test.jsonl`, `corpus/test-00000-of-00002.parquet` and so on; JSONL may be gzipped. A config
    `default` may be in `data`, where `datasets` writes it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @cached_property
    def configs(self) -> list[str]:
        return sorted(self._files)

    def splits(self, config: str) -> list[str]:
        return list(self._files[config])

    def rows(self, config: str, split: str) -> Iterator[Row]:
        files = self._files[config][split]
        _check_shards(files)
        for path in files:
            yield from _parquet(path) if suffix_of(path) in _PARQUET else parse_jsonl(read_lines(path), dict, str(path))

    @cached_property
    def _files(self) -> dict[str, dict[str, list[Path]]]:
        """config -> split -> its files."""
        found: dict[str, dict[str, list[Path]]] = {}
        for entry in _content(self._root):
            for path in _content(entry) if entry.is_dir() else [entry]:
                if suffix_of(path) in _JSONL | _PARQUET and path.is_file():
                    split = _SHARD.sub("", _stem(path))
                    config = entry.name if entry.is_dir() else split
                    config = "default" if config == "data" else config
                    found.setdefault(config, {}).setdefault(split, []).append(path)
        return found


def lists_configs(root: Path) -> bool:
    """Whether a folder's README lists configs, as a copy of a hub repository's does."""
    try:
        head = (root / "README.md").read_text(encoding="utf-8").split("---", 2)
    except (OSError, UnicodeDecodeError):
        return False
    return len(head) == 3 and not head[0].strip() and bool(re.search(r"^configs:", head[1], re.MULTILINE))


def _content(folder: Path) -> list[Path]:
    """What is in a folder, by name; nothing where it is none, or is closed to us, as others' beside it may be."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _stem(path: Path) -> str:
    """The name without its endings: `test` of `test.jsonl.gz`."""
    return path.name.removesuffix(".gz").rpartition(".")[0]


def _check_shards(files: list[Path]) -> None:
    """Raises InputError where files of a table say that there are more of them, as after a broken download."""
    wanted = {int(shard[1]) for path in files if (shard := _SHARD.search(_stem(path)))}
    if wanted and wanted != {len(files)}:
        raise InputError(f"{files[0]}: one of {max(wanted)} files, and {len(files)} are there; fetch them all")


def _parquet(path: Path) -> Iterator[Row]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise needs_extra(f"{path}: Parquet", "pyarrow", "hub-data") from error
    try:
        with pq.ParquetFile(path) as file:
            records = chain.from_iterable(batch.to_pylist() for batch in file.iter_batches(_BATCH))
            for number, record in enumerate(records, start=1):
                yield f"{path}, row {number}", record
    except (OSError, pa.ArrowException) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: not a readable Parquet file: {reason}") from error
