"""The layout of BAAI's training data (bge-m3-data, bge-multilingual-gemma2-data): folders of JSON lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saelex.errors import InputError
from saelex.files import expanded
from saelex.hub import asking_hub
from saelex.progress import counted
from saelex.training.examples.example import TrainingQuery
from saelex.training.examples.facts import fingerprint
from saelex.training.examples.filtering import PassageFilter
from saelex.training.examples.jsonl import QueryLines
from saelex.training.examples.records import scored_passages, scores_of, texts_of

if TYPE_CHECKING:
    from saelex.training.examples.settings import Source


class BgeSource:
    """The queries of several files, one file after the other.

    max_queries: so many, evenly spread over all files, which hold a language or a task each.
    """

    def __init__(self, root: Path, files: list[QueryLines], revision: str | None, max_queries: int | None) -> None:
        self._root, self._files, self._revision = root, files, revision
        self._ends = np.cumsum([file.size for file in files])
        total = int(self._ends[-1])
        self.size = total if max_queries is None else min(total, max_queries)
        self._places = np.linspace(0, total, self.size, endpoint=False).astype(np.int64)

    def __getitem__(self, index: int) -> TrainingQuery:
        place = int(self._places[index])
        file = int(np.searchsorted(self._ends, place, side="right"))
        return self._files[file][place - int(self._ends[file]) + self._files[file].size]

    def facts(self) -> dict[str, Any]:
        """Usable queries by file, and the hub's revision or the files' fingerprint."""
        known = fingerprint(file.path for file in self._files) if self._revision is None else {}
        return {
            "files": {str(file.path.relative_to(self._root)): file.size for file in self._files},
            "queries_left_out": sum(file.read for file in self._files) - self.size,
            **({"revision": self._revision} if self._revision else {}),
            **known,
        }


def open_bge(source: Source, passages: PassageFilter, *, progress: bool = False) -> BgeSource:
    """All .jsonl files (plain or gzipped) of a folder and its sub-folders, or of a hub data set.

    Fields: query, pos and neg (lists of texts), pos_scores and neg_scores (lists of numbers, null where nobody scored
    them); prompt and type are not used, SPLARE has no prompts. `source.subset` names one sub-folder, or a pattern of
    them. Where the loss needs scores only scored queries are kept, as SPLARE did (appendix A).
    Raises InputError with file and line.
    """
    root, revision = _folder(source)
    found = sorted(path for kind in ("*.jsonl", "*.jsonl.gz") for path in root.glob(f"{source.subset or '**'}/{kind}"))
    if not found:
        raise InputError(f"{source.path}: no .jsonl files in {source.subset or 'it'}")
    opened = [
        QueryLines(path, _bge_query, passages, layout={"layout": "bge"}, progress=progress)
        for path in counted(found, desc=root.name, unit="file", shown=progress)
        if path.stat().st_size
    ]
    if not opened:
        raise InputError(f"{source.path}: all of its .jsonl files are empty")
    return BgeSource(root, opened, revision, source.max_queries)


def _bge_query(record: Mapping[str, Any]) -> TrainingQuery:
    query = record.get("query")
    if not isinstance(query, str):
        raise InputError(f"no text in the field query; the fields are {', '.join(record) or 'none'}")
    positives, negatives = texts_of(record.get("pos"), "pos"), texts_of(record.get("neg"), "neg")
    if not positives:
        raise InputError("no passage in the field pos")
    return TrainingQuery(
        query,
        scored_passages(positives, scores_of(record.get("pos_scores"), len(positives), "pos_scores")),
        scored_passages(negatives, scores_of(record.get("neg_scores"), len(negatives), "neg_scores")),
    )


def _folder(source: Source) -> tuple[Path, str | None]:
    """The folder of a path or of a hub data set, and the latter's revision."""
    root = expanded(source.path)
    if root.is_dir():
        return root, None
    if source.path.count("/") != 1 or source.path.startswith((".", "/", "~")):
        raise InputError(f"{source.path}: no such folder, and not a hub id of the form owner/name")
    from huggingface_hub import snapshot_download

    patterns = [f"{source.subset or '*'}/*.jsonl{packed}" for packed in ("", ".gz")]
    patterns += [] if source.subset else ["*.jsonl", "*.jsonl.gz"]
    with asking_hub(source.path, kind="data set"):
        fetched = Path(snapshot_download(source.path, repo_type="dataset", allow_patterns=patterns))
    return fetched, fetched.name  # the hub's cache names a snapshot by its commit
