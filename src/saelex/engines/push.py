"""An index to an engine: what is new or changed is sent, what is gone is deleted, and then they are the same.

The checkpoint is in the engine: every entry has a digest of what it was made from. A push that was interrupted,
wherever that was, goes on when it is started again, and reads the digests of what is there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from saelex.engines.contents import Contents
from saelex.engines.entry import STATE, Entry, batches
from saelex.engines.files.format import Vector
from saelex.engines.registry import store_class
from saelex.engines.store import Store
from saelex.engines.url import EngineUrl
from saelex.errors import InputError, MismatchError, SaelexError
from saelex.index.index import Index
from saelex.progress import progress_bar

PATIENCE = 60.0
"""Seconds for which an engine that does not answer is asked again."""


class PushReport(NamedTuple):
    """What a push did. passages: that the engine holds now; sent: written by this push; removed: deleted by it."""

    documents: int
    passages: int
    sent: int
    removed: int

    def __str__(self) -> str:
        gone = f", {self.removed:,} removed" if self.removed else ""
        return f"{self.documents:,} documents in {self.passages:,} passages; {self.sent:,} sent{gone}"


def push(index: Index, url: str, *, patience: float = PATIENCE, progress: bool = False) -> PushReport:
    """Make a collection hold what an index holds, and the same scores with it. The index needs forward rows.

    patience: seconds for which an engine that does not answer is asked again, at growing intervals; then SaelexError is
    raised, and the next push goes on from there. One push at a time writes to a collection.

    Raises MismatchError for a collection of another encoder's vectors, InputError for what the engine cannot hold.
    """
    parsed = EngineUrl.parse(url)
    store = _opened(parsed, index)
    store.patience = patience
    try:
        while True:
            generation = index.generation
            report = _send(index, store, progress)
            if index.generation == generation:
                return report
    finally:
        store.close()


def _opened(url: EngineUrl, index: Index) -> Store:
    store = store_class(url).at(url, index.n_latents)
    try:
        held = Contents.find(store)
        if held is not None and held.settings["fingerprint"] != index.settings["fingerprint"]:
            raise MismatchError(
                f"{url}: holds vectors of the encoder {held.settings['encoder']!r}, and the index those of "
                f"{index.settings['encoder']!r}; choose another name"
            )
    except BaseException:
        store.close()
        raise
    return store


def _send(index: Index, store: Store, progress: bool) -> PushReport:
    words = index.frozen_words()
    store.grow(index.n_latents + (0 if words is None else len(words)))
    new = not len(store)
    names: set[str] = set()
    sent = passages = 0
    with progress_bar(total=index.n_passages, desc="push", unit="passage", shown=progress, leave=False) as bar:
        for some in batches(_entries(index), store.batch):
            known = {} if new else store.digests(entry.id for entry in some)
            changed = [entry for entry in some if known.get(entry.id) != entry.digest]
            _check(store, changed)
            store.put(changed)
            sent, passages = sent + len(changed), passages + len(some)
            if not new:
                names.update(entry.id for entry in some)
            bar.update(len(some))
    gone: list[str] = []
    if not new and len(store) != passages:
        gone = [entry.id for page in store.scan() for entry in page if entry.id not in names]
        store.remove(gone)
    if len(store) != passages:
        raise SaelexError(f"{store.url}: holds {len(store):,} passages, not the {passages:,} of the index; push again")
    if sent:
        store.merge()
    Contents.of(index, words, passages).write(store, index)
    return PushReport(len(index), passages, sent, len(gone))


def _check(store: Store, entries: list[Entry]) -> None:
    most = store.limits.n_nonzero
    for entry in entries:
        if most is not None and len(entry.vector.columns) > most:
            raise InputError(
                f"document {entry.document!r} has {len(entry.vector.columns):,} non-zeros, "
                f"and {store.url.scheme} takes {most:,}; make the index with a smaller Top-K"
            )


def _entries(index: Index) -> Iterator[Entry]:
    """Every stored passage: the first of a document under its id, the others as `id#2`, `id#3`, ..."""
    for chunk in index.stored():
        for i, (owner, number, text) in enumerate(zip(chunk.owners, chunk.numbers, chunk.texts)):
            document, place = owner.document, number - owner.number
            name = document.id if not place else f"{document.id}#{place + 1}"
            if document.id.startswith(STATE) or (place and name in index):
                raise InputError(
                    f"passage {place + 1} of document {document.id!r} needs the id {name!r}, which is taken"
                )
            start, end = owner.borders(number)
            entry = Entry(
                name, Vector(*chunk.rows.row(i)), "", document.id, number, start, end,
                document.title, text if place else document.text, document.metadata,
            )  # fmt: skip
            yield replace(entry, digest=_digest(entry))


def _digest(entry: Entry) -> str:
    fields = json.dumps([entry.id, *entry.fields().values()], ensure_ascii=False, sort_keys=True)
    digest = hashlib.blake2b(fields.encode("utf-8", "surrogatepass"), digest_size=16)
    digest.update(entry.vector.columns.tobytes())
    digest.update(entry.vector.weights.tobytes())
    return digest.hexdigest()
