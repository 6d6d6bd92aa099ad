"""Small collections, written as the sources have them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CORPUS = [
    {"_id": "d1", "title": "Lift", "text": "of wings"},
    {"_id": "d2", "title": "", "text": "drag"},
    {"_id": "d3", "title": "", "text": "a bank"},
]
QUERIES = [{"_id": "q2", "text": "money"}, {"_id": "q1", "text": "what lifts"}, {"_id": "q3", "text": "not judged"}]
QRELS = {"q1": {"d1": 2, "d2": 0}, "q2": {"d3": 1}}
ROWS = [
    {"query-id": query, "corpus-id": document, "score": grade}
    for query, grades in QRELS.items()
    for document, grade in grades.items()
]


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_beir(root: Path, prefix: str = "", split: str = "test") -> Path:
    """A BEIR folder of these texts, each with the prefix before it."""
    write_jsonl(root / "corpus.jsonl", [{**row, "text": prefix + row["text"]} for row in CORPUS])
    write_jsonl(root / "queries.jsonl", [{**row, "text": prefix + row["text"]} for row in QUERIES])
    (root / "qrels").mkdir()
    lines = [f"{row['query-id']}\t{row['corpus-id']}\t{row['score']}\n" for row in ROWS]
    (root / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return root
