"""A collection in three "languages": the same ids and judgements, other words."""

from __future__ import annotations

import json
from pathlib import Path

from tests.encoder.tiny_models import TEXTS

DOCUMENTS = {
    "en": list(TEXTS[1:6]),
    "de": [
        "Die Häuser stehen am Fluss.",
        "Der Fluss fließt durch das Tal; the wing stalls.",
        "Im Winter schneit es in Python.",
        "Eine Bank verleiht Geld.",
        "Zip-Archive lesen und schreiben, Dateien packen; interest.",
    ],
    "tlh": ["wing of an aircraft", "angles of attack", "zip archive zip", "River banks", "money in a bank"],
}
QUERIES = {
    "en": ["how do wings create lift?", "when does the wing stall?", "the interest"],
    "de": ["Wo steht das Haus am Fluss?", "Was stalls?", "Wer verleiht Geld?"],
    "tlh": ["aircraft wing", "attack", "money bank"],
}
QRELS = [("q1", "d0", 1), ("q2", "d1", 2), ("q2", "d0", 1), ("q3", "d4", 1), ("q3", "d3", 1)]


def write_languages(root: Path) -> Path:
    """A folder with a sub-folder for each language."""
    for code, texts in DOCUMENTS.items():
        folder = root / code
        (folder / "qrels").mkdir(parents=True)
        corpus = [{"_id": f"d{i}", "text": text} for i, text in enumerate(texts)]
        queries = [{"_id": f"q{i}", "text": text} for i, text in enumerate(QUERIES[code], start=1)]
        (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
        (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
        (folder / "qrels" / "test.tsv").write_text("".join("\t".join(map(str, one)) + "\n" for one in QRELS))
    return root
