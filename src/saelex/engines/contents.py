"""What a collection says of itself, kept in it beside the passages, so that a URL is all that a search needs.

That is: which encoder made the vectors, what weighs the words of a query, which metadata there are, and the labels.
They are records with ids that begin with `saelex:`, texts of bounded length; the head names the others by their hash
and is written last, so that whoever reads finds the old contents or the new ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saelex.concepts.store import FILE_NAME, ConceptStore
from saelex.encoder.words.bm25 import Bm25Statistics
from saelex.encoder.words.channel import LexicalChannel
from saelex.engines.entry import STATE, Entry
from saelex.engines.records import ids_of, read_bytes, write_bytes
from saelex.engines.store import Store
from saelex.errors import InputError
from saelex.files import cache_folder, replacing
from saelex.index.fields import MetadataFields
from saelex.index.index import Index
from saelex.reading.json_object import parse_json

FORMAT = "saelex-engine/1"
_HEAD = f"{STATE}contents"


@dataclass(frozen=True)
class Contents:
    """What a collection holds. settings: those that its index was created with. labels: their records, or ""."""

    settings: Mapping[str, Any]
    documents: int
    passages: int
    fields: MetadataFields
    words: LexicalChannel | None
    labels: str

    @classmethod
    def of(cls, index: Index, words: LexicalChannel | None, passages: int) -> Contents:
        """Of an index, with its frozen words, and as many live passages."""
        path = index.path / FILE_NAME
        labels = hashlib.sha256(path.read_bytes()).hexdigest()[:32] if index.concepts is not None else ""
        return cls(dict(index.settings), len(index), passages, index.metadata_fields, words, labels)

    @classmethod
    def read(cls, store: Store) -> Contents:
        """Raises InputError for a collection whose first push never ended, or that holds bare vectors."""
        held = cls.find(store)
        if held is None:
            raise InputError(
                f"{store.url}: what was pushed to it is not whole; push again, which goes on where it ended"
            )
        return held

    @classmethod
    def find(cls, store: Store) -> Contents | None:
        """What it says, None where it says nothing yet. Raises InputError for what another version wrote."""
        head = store.get([_HEAD]).get(_HEAD)
        if head is None:
            return None
        values = parse_json(head.text, str(store.url))
        if values.get("format") != FORMAT:
            raise InputError(f"{store.url}: made by another version of saelex ({values.get('format')!r}); push it anew")
        held = json.loads(read_bytes(store, values["contents"]))
        kinds = held["fields"]
        return cls(
            held["settings"],
            held["documents"],
            held["passages"],
            MetadataFields(None if kinds is None else {name: frozenset(of) for name, of in kinds.items()}),
            None if held["words"] is None else _words(held["words"]),
            values["labels"],
        )

    def write(self, store: Store, index: Index) -> None:
        """Store it, with the labels of the index, in place of what was there."""
        kinds = self.fields.kinds
        held = {
            "settings": self.settings,
            "documents": self.documents,
            "passages": self.passages,
            "fields": None if kinds is None else {name: sorted(of) for name, of in sorted(kinds.items())},
            "words": None if self.words is None else _state(self.words),
        }
        before = store.get([_HEAD]).get(_HEAD)
        named = write_bytes(store, json.dumps(held, ensure_ascii=False).encode())
        labels = write_bytes(store, (index.path / FILE_NAME).read_bytes()) if self.labels else ""
        head = {"format": FORMAT, "contents": named, "labels": labels}
        store.put([Entry(_HEAD, text=json.dumps(head))])
        if before is not None:
            old = json.loads(before.text)
            store.remove(name for one in {old["contents"], old["labels"]} - {named, labels} for name in ids_of(one))

    def concepts(self, store: Store) -> ConceptStore | None:
        """The labels, from a copy in the user's cache folder; None where the index has none."""
        path = self.labels_file(store)
        return None if path is None else ConceptStore.open(path, fingerprint=self.settings["fingerprint"])

    def labels_file(self, store: Store) -> Path | None:
        """That copy."""
        if not self.labels:
            return None
        path = cache_folder() / "engines" / f"{self.labels.partition('/')[0]}.sqlite"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            content = read_bytes(store, self.labels)
            with replacing(path) as temporary:
                temporary.write_bytes(content)
        return path


def _state(channel: LexicalChannel) -> dict[str, Any]:
    statistics = channel.statistics
    assert statistics is not None
    return {
        "state": channel.to_state(),
        "words": list(channel),
        "frequencies": statistics.document_frequencies.tolist(),
        "passages": statistics.n_documents,
        "mean_length": statistics.mean_length,
        "shares": dict(channel.shares),
    }


def _words(held: Mapping[str, Any]) -> LexicalChannel:
    channel = LexicalChannel.from_state(held["state"], held["words"])
    frequencies = np.array(held["frequencies"], np.int64)
    channel.statistics = Bm25Statistics(frequencies, held["passages"], held["mean_length"])
    channel.shares = held["shares"]
    return channel
