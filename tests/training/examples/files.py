"""Small training data on disk: a BEIR folder, mined pairs, JSON lines."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# query_id, document_id, relevant, miner, score
Row = tuple[str, str, bool, str, float | None]


def write_jsonl(path: Path, records: Iterable[Any]) -> Path:
    content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_beir(
    folder: Path, documents: dict[str, str], queries: dict[str, str], qrels: Sequence[tuple[str, str, int]]
) -> Path:
    """A folder with a split train; a document "title|text" has a title."""
    (folder / "qrels").mkdir(parents=True)
    corpus = [
        {"_id": name, "title": text.partition("|")[0] if "|" in text else "", "text": text.rpartition("|")[2]}
        for name, text in documents.items()
    ]
    write_jsonl(folder / "corpus.jsonl", corpus)
    write_jsonl(folder / "queries.jsonl.gz", [{"_id": name, "text": text} for name, text in queries.items()])
    lines = ["query-id\tcorpus-id\tscore"] + ["\t".join(map(str, judgement)) for judgement in qrels]
    (folder / "qrels" / "train.tsv").write_text("\n".join(lines) + "\n")
    return folder


def write_rows(path: Path, rows: Sequence[Row], **texts: Sequence[str]) -> Path:
    """What `saelex mine` and `saelex score` write; further columns by name."""
    queries, documents, relevant, miners, scores = zip(*rows, strict=True)
    table = {
        "query_id": pa.array(queries, pa.string()),
        "document_id": pa.array(documents, pa.string()),
        "relevant": pa.array(relevant, pa.bool_()),
        "rank": pa.array([None] * len(rows), pa.int32()),
        "miner": pa.array(miners, pa.string()),
        "score": pa.array(scores, pa.float32()),
        **{name: pa.array(list(column), pa.string()) for name, column in texts.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(table), path)
    return path
