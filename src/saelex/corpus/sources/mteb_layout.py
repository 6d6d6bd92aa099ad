"""Data sets in mteb's layout for retrieval: configs `corpus`, `queries` and, for the qrels, `default` or `qrels`.

The rules are those of mteb 2's `RetrievalDatasetLoader` (abstasks/retrieval_dataset_loaders.py):

- A subset, a language say, has configs `SUBSET-corpus`, `SUBSET-queries`, `SUBSET-qrels`. The subset `default` is none.
- A config that has one split only is read whatever split is asked for; corpus and queries often are so. Where the
  qrels are so, the collection's split is theirs: figures of `train` are not taken for those of `test`.
- A config `query` takes the place of `queries`.
- Documents have `_id` or `id`, `text`, perhaps `title`; queries `_id` or `id`, `text`, perhaps `instruction`, which
  may also be a config of its own (`query-id`, `instruction`): the query is text, blank, instruction.
- qrels have `query-id`, `corpus-id` and `score`, a whole number.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from saelex.corpus.collection import Collection
from saelex.corpus.documents import Document, Qrels, Query
from saelex.corpus.lines import unique
from saelex.corpus.records import add_judgement, document_of_record, query_of_record
from saelex.corpus.sources.hub import newest_revision
from saelex.corpus.sources.tables import FileTables, HubTables, Row, Tables, lists_configs
from saelex.errors import InputError
from saelex.files import expanded

logger = logging.getLogger(__name__)

Parsed = TypeVar("Parsed")

HUB = "hf:"

_HUB_NAME = re.compile(r"(?P<repo>[^/@]+(?:/[^/@]+)?)(?:@(?P<revision>[^/]+))?(?:/(?P<subset>.+))?")


def read_mteb_layout(name: str, split: str) -> Collection:
    """A data set in mteb's layout: `FOLDER`, `FOLDER/SUBSET`, or of the hub, `OWNER/NAME[@REVISION][/SUBSET]`.

    A folder is a copy of a hub repository, or holds files named by convention (`FileTables`). What is read of the hub
    stays at the commit that was the newest when it was opened; `source` of the collection names it. A reranking task's
    candidates (`top_ranked`) are not used: queries are over all documents. Raises InputError as `read_collection` does.
    """
    data = _open(name)
    qrels = data.qrels(split)
    if data.config("top_ranked") in data.tables.configs:
        logger.warning("%s: is for reranking given candidates; here the whole corpus is searched", data.source)
    documents = data.table("corpus", split)
    return Collection.of_judged(
        data.source,
        data.name,
        data.judged_split(split),
        data.queries(split),
        qrels,
        lambda: unique(_parsed(documents(), _document), lambda document: document.id, "document"),
    )


def is_mteb_folder(path: Path) -> bool:
    """Whether a path is a folder in mteb's layout, or names a subset of one; BEIR's qrels in TSV make it BEIR's."""
    if any((path / "qrels").glob("*.tsv*")):
        return False
    root, subset = (path, None) if path.is_dir() else (path.parent, path.name)
    wanted = _config("corpus", subset)
    if lists_configs(root):
        return (
            subset is None
            or re.search(rf"\b{re.escape(wanted)}\b", (root / "README.md").read_text("utf-8")) is not None
        )
    configs = FileTables(root).configs
    qrels = {"default", "qrels"} if subset is None else {_config("qrels", subset)}
    return wanted in configs and not qrels.isdisjoint(configs)


@dataclass(frozen=True)
class _Layout:
    """A data set's tables by what they are for."""

    source: str
    name: str
    tables: Tables
    subset: str | None

    def config(self, part: str) -> str:
        return _config(part, self.subset)

    def table(self, part: str, split: str) -> Callable[[], Iterator[Row]]:
        """What reads this part's rows; the split is found now."""
        found = self._located(part, split)
        return lambda: self.tables.rows(*found)

    def judged_split(self, split: str) -> str:
        """The split that is measured: the one asked for, or the qrels' only one where that has a name of its own."""
        config, chosen = self._located("qrels", split)
        return split if chosen == config else chosen

    def _located(self, part: str, split: str) -> tuple[str, str]:
        """Config and split of this part."""
        config = self.config(part)
        if part == "queries" and "query" in self.tables.configs:
            config = "query"
        if part == "qrels" and self.subset is None:
            config = "default" if "default" in self.tables.configs else "qrels"
        if config not in self.tables.configs:
            known = ", ".join(self.tables.configs)
            raise InputError(f"{self.source}: no config {config!r}, as mteb's layout has; it has {known or 'none'}")
        splits = self.tables.splits(config)
        if split not in splits and len(splits) != 1:
            raise InputError(f"{self.source}: {config} has no split {split!r}; it has {', '.join(splits)}")
        return config, split if split in splits else splits[0]

    def qrels(self, split: str) -> Qrels:
        qrels: Qrels = {}

        def add(row: Mapping[str, Any]) -> None:
            add_judgement(qrels, _cell(row, "query-id"), _cell(row, "corpus-id"), _grade(row.get("score")))

        for _ in _parsed(self.table("qrels", split)(), add):
            pass
        return qrels

    def queries(self, split: str) -> Iterator[Query]:
        instructions: dict[str, str] = {}
        if self.config("instruction") in self.tables.configs:
            rows = self.table("instruction", split)()
            pairs = _parsed(rows, lambda row: (_cell(row, "query-id"), _cell(row, "instruction")))
            instructions = dict(pair for _, pair in pairs)

        def query(row: Mapping[str, Any]) -> Query:
            found = query_of_record(row)
            instruction = instructions.get(found.id, row.get("instruction"))
            return Query(found.id, f"{found.text} {instruction}") if instruction else found

        return unique(_parsed(self.table("queries", split)(), query), lambda one: one.id, "query")


def _open(name: str) -> _Layout:
    path = expanded(name)
    if path.is_dir() or is_mteb_folder(path):  # as `datasets` has it, a folder goes before the hub's data set
        root, subset = (path, None) if path.is_dir() else (path.parent, path.name)
        tables = HubTables(str(root)) if lists_configs(root) else FileTables(root)
        short = root.resolve().name
        return _Layout(name, short if subset is None else f"{short}/{subset}", tables, subset)
    parts = _HUB_NAME.fullmatch(name)
    if parts is None:
        raise InputError(f"{HUB}{name}: not {HUB}OWNER/NAME, perhaps with @REVISION and /SUBSET behind it")
    repo, subset = parts["repo"], parts["subset"] if parts["subset"] != "default" else None
    revision = parts["revision"] or newest_revision(repo)
    behind = f"/{subset}" if subset else ""
    source = f"{HUB}{repo}{f'@{revision}' if revision else ''}{behind}"
    return _Layout(source, f"{repo}{behind}", HubTables(repo, revision), subset)


def _config(part: str, subset: str | None) -> str:
    return f"{subset}-{part}" if subset else part


def _parsed(rows: Iterator[Row], parse: Callable[[Mapping[str, Any]], Parsed]) -> Iterator[tuple[str, Parsed]]:
    for where, row in rows:
        try:
            parsed = parse(row)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        yield where, parsed


def _document(row: Mapping[str, Any]) -> Document:
    """Without metadata: further columns may hold anything, images among them."""
    return document_of_record({name: row[name] for name in ("_id", "id", "title", "text") if name in row})


def _cell(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise InputError(f"no {column}: every row needs a column {column} that holds a string or an integer")
    return str(value).strip()


def _grade(value: object) -> int:
    """mteb casts scores to integers: 1.0 and "1" are 1."""
    try:
        grade = float(value)  # type: ignore[arg-type]
        if grade == int(grade):
            return int(grade)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InputError(f"score must be a whole number, not {value!r}")
