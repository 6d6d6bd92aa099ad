"""A collection of three files: topics, qrels and a corpus, as TREC gives them out."""

from __future__ import annotations

from pathlib import Path

from saelex.corpus.collection import Collection
from saelex.corpus.reading import read_corpus, read_qrels
from saelex.corpus.trec.topics import read_topics
from saelex.errors import InputError

FILES = "trec:"


def read_trec_files(names: str) -> Collection:
    """`TOPICS,QRELS,CORPUS`; its name is the topics file's. Raises InputError as their readers do.

    A corpus is JSONL, TSV or a BEIR folder; `saelex.corpus.trec.topics.read_topics` says what topics may be.
    """
    source = FILES + names
    files = names.split(",")
    if len(files) != 3 or not all(files):
        raise InputError(f"{source}: name three files, as in {FILES}topics.txt,qrels.txt,corpus.jsonl")
    topics, qrels, corpus = files
    name = Path(topics).name.removesuffix(".gz").rpartition(".")[0] or Path(topics).name
    read_corpus(corpus)  # a corpus that is missing is said now
    return Collection.of_judged(source, name, "", read_topics(topics), read_qrels(qrels), lambda: read_corpus(corpus))
