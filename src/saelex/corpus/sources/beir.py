"""Folders in BEIR's layout."""

from __future__ import annotations

from pathlib import Path

from saelex.corpus.collection import Collection
from saelex.corpus.reading import read_corpus, read_qrels, read_queries
from saelex.errors import InputError
from saelex.files import expanded


def read_beir(folder: str | Path, split: str = "test") -> Collection:
    """The split of a BEIR folder: `corpus.jsonl`, `queries.jsonl` and `qrels/<split>.tsv`, each plain or gzipped.

    Its name is the folder's own. Raises InputError as `read_collection` does.
    """
    root = expanded(folder)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; a folder in BEIR's layout is needed here")
    qrels = read_qrels(_qrels_file(root, split))
    return Collection.of_judged(
        str(root), root.resolve().name, split, read_queries(root), qrels, lambda: read_corpus(root)
    )


def _qrels_file(root: Path, split: str) -> Path:
    for name in (f"{split}.tsv", f"{split}.tsv.gz"):
        if (root / "qrels" / name).is_file():
            return root / "qrels" / name
    splits = sorted({path.name.split(".tsv")[0] for path in (root / "qrels").glob("*.tsv*")})
    known = f"it has {', '.join(splits)}" if splits else "it has no qrels/<split>.tsv at all"
    raise InputError(f"{root}: no split {split!r}; {known}")
