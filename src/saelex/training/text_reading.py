"""The texts that `TextData` names, and what tells one text from another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from saelex.corpus.reading import read_corpus
from saelex.training.text_settings import TextData


def read_texts(data: TextData) -> Iterator[str]:
    """The corpora's texts, one of each in turn, without those excluded and without blank ones."""
    excluded = {text_digest(document.text) for source in data.exclude for document in read_corpus(source)}
    streams = [iter(read_corpus(source)) for source in data.corpora]
    count = 0
    while streams:
        for stream in list(streams):
            document = next(stream, None)
            if document is None:
                streams.remove(stream)
            elif document.content and (not excluded or text_digest(document.text) not in excluded):
                yield document.content
                count += 1
                if count == data.max_texts:
                    return


def text_digest(text: str) -> bytes:
    """Sixteen bytes, equal for texts that differ in white space only."""
    return hashlib.blake2b(" ".join(text.split()).encode("utf-8", "surrogatepass"), digest_size=16).digest()
