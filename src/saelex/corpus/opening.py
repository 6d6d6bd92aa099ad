"""Test collections and queries by name: which reader a string asks for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from saelex.corpus.collection import Collection
from saelex.corpus.documents import Query
from saelex.corpus.lines import suffix_of
from saelex.corpus.reading import LINE_SUFFIXES, read_queries
from saelex.corpus.sources.beir import read_beir
from saelex.corpus.sources.ir_datasets import IR_DATASETS, read_ir_dataset
from saelex.corpus.sources.mteb_layout import HUB, is_mteb_folder, read_mteb_layout
from saelex.corpus.sources.pair import read_pair
from saelex.corpus.sources.trec_files import FILES, read_trec_files
from saelex.corpus.trec.topics import read_topics
from saelex.errors import InputError
from saelex.files import expanded, expanded_text
from saelex.reading.regular import is_folder, is_here

_PREFIXES = (HUB, IR_DATASETS, FILES)


def read_collection(source: str | Path, split: str = "test") -> Collection:
    """The test collection that a string names:

    - `FOLDER`: BEIR's layout (`corpus.jsonl`, `queries.jsonl`, `qrels/<split>.tsv`, each plain or gzipped), or mteb's
      in files of JSONL or Parquet (see `saelex.corpus.sources.mteb_layout`).
    - `hf:OWNER/NAME`, `hf:OWNER/NAME@REVISION`, `hf:OWNER/NAME/SUBSET`: mteb's layout on the Hugging Face hub,
      streamed; needs the extra hub-data.
    - `ir_datasets:ID`: needs the extra ir-datasets. The id names its split, as in `ir_datasets:beir/scifact/test`.
    - `trec:TOPICS,QRELS,CORPUS`: files, in any form that `read_topics`, `read_qrels` and `read_corpus` take.
    - `FIRST+SECOND`: queries of the first over documents of the second, two collections that share ids and qrels, as
      a collection and its translation do: `xquad/de+xquad/en`.

    Only queries that have judgements are kept, in the order of the source. `split` is not looked at where the source
    is a single one. Raises InputError where something is missing or malformed, the split does not exist (the message
    names those that do), or a judged query has no text.
    """
    text = expanded_text(str(source))
    if not is_here(text):
        if sides := _sides(text):
            first, second = (read_collection(*named_split(side, split)) for side in sides)
            return read_pair(first, second, text)
        if text.startswith(IR_DATASETS):
            return read_ir_dataset(text.removeprefix(IR_DATASETS))
        if text.startswith(FILES):
            return read_trec_files(text.removeprefix(FILES))
    name = text.removeprefix(HUB)
    if name != text or is_mteb_folder(Path(name)):
        return read_mteb_layout(name, split)
    if not is_folder(text):
        raise InputError(
            f"{text}: no such folder; a test collection is a folder, or hf:..., ir_datasets:..., trec:... or two of "
            "them with a + between"
        )
    return read_beir(text, split)


def open_queries(source: str | Path) -> Iterator[Query]:
    """The queries of a BEIR folder or of a file: JSONL, CSV or TSV by its name, else TREC topics; gzip by `.gz`.

    Raises InputError for what is not there, and as `read_queries` and `read_topics` do.
    """
    path = expanded(source)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    return read_queries(path) if path.is_dir() or suffix_of(path) in LINE_SUFFIXES else read_topics(path)


def named_split(source: str, split: str = "test") -> tuple[str, str]:
    """Source and split of `SOURCE:SPLIT`; of a source that names none, or is itself a path, the split given."""
    if is_here(expanded_text(source)) or source.startswith(FILES):
        return source, split
    first, plus, last = source.rpartition("+")  # a pair's split stands behind its second side
    prefix = next((prefix for prefix in _PREFIXES if last.startswith(prefix)), "")
    if prefix == IR_DATASETS:
        return source, split
    name, colon, own = last.removeprefix(prefix).rpartition(":")
    if not colon or not own or "/" in own or "\\" in own:
        return source, split
    return f"{first}{plus}{prefix}{name}", own


def _sides(source: str) -> tuple[str, str] | None:
    """The two sides of `FIRST+SECOND`; a path may have a + of its own, so that what exists decides."""
    if source.startswith(FILES):
        return None
    parts = source.split("+")
    cuts = [("+".join(parts[:end]), "+".join(parts[end:])) for end in range(1, len(parts))]
    return next((cut for cut in cuts if all(map(_may_be_source, cut))), cuts[0] if cuts else None)


def _may_be_source(text: str) -> bool:
    return text.startswith(_PREFIXES) or is_folder(expanded_text(named_split(text)[0]))
