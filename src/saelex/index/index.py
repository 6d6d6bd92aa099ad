"""Index: documents in, explained hits out. A folder that holds documents, vectors, words and what latents mean."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.concepts.steering import Steering, resolver
from saelex.concepts.store import FILE_NAME, ConceptStore
from saelex.corpus.documents import Document
from saelex.encoder.words.channel import LexicalSettings
from saelex.encoder.words.languages import DEFAULT_LANGUAGE
from saelex.errors import CorruptIndexError, InputError, MismatchError
from saelex.index.filters import Where, condition
from saelex.index.hits import Hit, SearchedQuery
from saelex.index.inverted import numbers_of, storage_settings
from saelex.index.passages import Passage, passage_splitter
from saelex.index.quantise import Quantiser
from saelex.index.snapshot import Snapshot
from saelex.index.storage import Storage
from saelex.index.word_state import WordState
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    from saelex.concepts.concept import Concept
    from saelex.index.adding import AddReport
    from saelex.index.batch import Mode
    from saelex.index.checking import CheckReport
    from saelex.index.search import SegmentView
    from saelex.index.segments import SegmentArrays
    from saelex.index.text_encoder import TextEncoder

_FILTERS_KEPT = 16


class Index:
    """Documents that can be searched by concepts and words. Open it with `create` or `open`.

    Searching is safe from several threads and sees every commit of any process whole; one process at a time writes.
    """

    def __init__(self, storage: Storage, encoder: TextEncoder | None = None) -> None:
        self._storage = storage
        self._encoder: TextEncoder | None = None
        self._concepts: ConceptStore | None = None
        self._filters: OrderedDict[tuple[int, str], list[SegmentView]] = OrderedDict()
        settings = storage.settings
        word_settings = settings["words"]
        self._words = None if word_settings is None else WordState(storage.catalog, LexicalSettings(**word_settings))
        if encoder is not None:
            self._take(encoder)

    @classmethod
    def create(
        cls,
        path: str | Path,
        encoder: TextEncoder,
        *,
        words: bool | LexicalSettings = True,
        forward: bool = True,
        bits: int = 16,
        passage_tokens: int | None = None,
        passage_overlap: int | None = None,
    ) -> Index:
        """A new index in a new folder, bound to its encoder.

        words: exact words as dimensions beside the latents (see `LexicalChannel`), at the scale the encoder's settings
        name unless LexicalSettings say otherwise. forward: keep the vectors row by row
        as well; it doubles the size, makes explanations instant, and `capped` and `two_step` searches need it.
        bits: 8 or 16 for a stored weight. passage_tokens, passage_overlap: longer documents are split into passages of
        so many tokens (default: what the encoder reads, at most 512) that overlap by so many (default: an eighth).

        Raises InputError where something is there already, or for settings that cannot be.
        """
        passage_splitter(encoder, passage_tokens, passage_overlap)
        word_settings = LexicalSettings(scale=encoder.settings.word_scale) if words is True else words or None
        settings = {
            "kind": "documents",
            "encoder": encoder.name,
            "fingerprint": encoder.fingerprint,
            "n_latents": encoder.n_latents,
            "words": None if word_settings is None else vars(word_settings),
            "passage_tokens": passage_tokens,
            "passage_overlap": passage_overlap,
            **storage_settings(bits, forward),
        }
        return cls(Storage.create(path, settings), encoder)

    @classmethod
    def open(cls, path: str | Path, encoder: TextEncoder | None = None) -> Index:
        """An index that is there. Without an encoder, the one it was made with is loaded when it is first needed.

        Raises CorruptIndexError for a folder that is damaged or none of ours, MismatchError for another encoder.
        """
        storage = Storage.open(path)
        try:
            if storage.settings.get("kind") != "documents":
                raise InputError(f"{path}: an index of bare vectors; open it with InvertedIndex.open")
            return cls(storage, encoder)
        except BaseException:
            storage.close()
            raise

    def close(self) -> None:
        """Let go of all files."""
        self._filters.clear()
        if self._concepts is not None:
            self._concepts.close()
        self._storage.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- what it is -------------------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._storage.folder

    @property
    def settings(self) -> Mapping[str, Any]:
        """What it was created with."""
        return self._storage.settings

    @property
    def encoder(self) -> TextEncoder:
        """The encoder it is bound to. Raises MismatchError when what its name loads today gives other vectors."""
        if self._encoder is None:
            from saelex.encoder.encoder import Encoder

            self._take(Encoder.load(self.settings["encoder"]))
        assert self._encoder is not None
        return self._encoder

    def _take(self, encoder: TextEncoder) -> None:
        if encoder.fingerprint != self.settings["fingerprint"]:
            raise MismatchError(
                f"{self.path}: made with the encoder {self.settings['encoder']!r} "
                f"({self.settings['fingerprint'][:12]}), not with {encoder.name!r} ({encoder.fingerprint[:12]}); "
                "open it with that encoder, or index the documents anew"
            )
        self._encoder = encoder

    @property
    def fingerprint(self) -> str:
        """sha256, in hex, of all that turns a text into scores here: encoder, word statistics and integer step."""
        words = None if self._words is None else self._storage.catalog.state("words")
        parts = [self.settings["fingerprint"], self.settings.get("step"), self.settings["bits"], words]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def concepts(self) -> ConceptStore | None:
        """What its latents mean, if `saelex label` has been there."""
        if self._concepts is None and (self.path / FILE_NAME).exists():
            self._concepts = ConceptStore.open(self.path / FILE_NAME, fingerprint=self.settings["fingerprint"])
        return self._concepts

    @property
    def language(self) -> str:
        """Of its words, and of its labels; the default where it keeps no words."""
        return DEFAULT_LANGUAGE if self._words is None else self._words.channel.settings.language

    def label(self, *, language: str | None = None, progress: bool = False) -> int:
        """Derive what its latents mean from its own documents, without a language model, and store it beside them.

        Of more than 50,000 passages a random sample of so many is read (`saelex.index.firings`). language: whose stop
        words and inflections count; None is the index's own. Returns how many latents have a label; see
        `saelex.concepts.labels`. Raises InputError without forward rows, and for an unknown language.
        """
        from saelex.concepts.labels import derive_labels
        from saelex.index.firings import firings

        fired = firings(self, progress="labels" if progress else "")
        spoken = self.language if language is None else language
        derived = derive_labels(fired, self.encoder.n_latents, language=spoken)
        return len(self.write_concepts(derived))

    def write_concepts(self, concepts: Iterable[Concept]) -> ConceptStore:
        """Store what its latents mean beside it, in place of what was there."""
        written = ConceptStore.write(self.path / FILE_NAME, concepts, fingerprint=self.settings["fingerprint"])
        old, self._concepts = self._concepts, written
        if old is not None:
            old.close()
        return written

    def __len__(self) -> int:
        """Number of documents."""
        return self._storage.catalog.n_documents()

    def __contains__(self, name: str) -> bool:
        return bool(self._storage.catalog.find([name]))

    def document(self, name: str) -> Document:
        """The document of an id. Raises InputError when there is none."""
        catalog = self._storage.catalog
        with catalog.reading():
            found = catalog.find([name])
            if not found:
                raise InputError(f"id {name!r} is not in the index")
            return catalog.documents([found[name][0]])[found[name][0]]

    @property
    def n_passages(self) -> int:
        """Number of passages, those of deleted documents included until a merge drops them."""
        return self._storage.snapshot.n_rows

    def stored(self, chunk: int = 1024, *, sample: int | None = None) -> Iterator[StoredRows]:
        """All passages with their vectors as stored, in chunks: for labels, statistics and exports.

        sample: of an index with more passages than that, so many drawn at random, always the same ones.
        Raises InputError for an index without forward rows.
        """
        if not self.settings["forward"]:
            raise InputError(f"{self.path}: keeps no forward rows; create it with forward=True")
        self._refresh()
        snapshot = self._storage.snapshot
        drawn: NDArray[np.int64] | None = None
        if sample is not None and sample < snapshot.n_rows:
            drawn = np.sort(np.random.default_rng(0).choice(snapshot.n_rows, sample, replace=False))
        for segment, first_row in zip(snapshot.segments, snapshot.first_rows):
            for first in range(0, segment.arrays.n_rows, chunk):
                last = min(first + chunk, segment.arrays.n_rows)
                chosen = np.arange(first, last)
                if drawn is not None:
                    low, high = np.searchsorted(drawn, [first_row + first, first_row + last])
                    chosen = drawn[low:high] - first_row
                if len(chosen):
                    yield self._stored(segment.arrays, chosen)

    def _stored(self, arrays: SegmentArrays, chosen: NDArray[np.int64]) -> StoredRows:
        catalog = self._storage.catalog
        numbers, owners = arrays.passages[chosen].tolist(), arrays.documents[chosen].tolist()
        with catalog.reading():
            documents, borders = catalog.documents(set(owners)), catalog.passages(numbers)
        ids: list[str] = []
        texts: list[str] = []
        for number, owner in zip(numbers, owners):
            if owner in documents:  # else it is deleted
                content = documents[owner].content
                start, end = borders.get(number, (0, len(content)))
                ids.append(documents[owner].id)
                texts.append(content[start:end])
        live = np.array([owner in documents for owner in owners])
        first, last = int(chosen[0]), int(chosen[-1]) + 1
        return StoredRows(ids, texts, arrays.floats(first, last, self._quantiser.step)[chosen[live] - first])

    # ---- changing it ------------------------------------------------------------------------------------------------

    def add(self, documents: Iterable[Document], *, resume: bool = False, progress: bool = False) -> AddReport:
        """Add documents from any source, in commits of about 10,000 passages.

        resume: skip documents that are there already with the same content, as after an interrupted add.

        Raises InputError for an id that is there already (with resume: with other content) or comes twice, for an empty
        text, and whatever the source raises. The documents of earlier commits stay and the message counts them; none of
        the batch at fault is added.
        """
        return self._add(documents, resume=resume, progress=progress)

    def update(self, documents: Iterable[Document], *, progress: bool = False) -> AddReport:
        """Add documents in place of those with the same ids, if there are any, each batch in one commit."""
        return self._add(documents, replace=True, progress=progress)

    def _add(self, documents: Iterable[Document], **options: bool) -> AddReport:
        from saelex.index.adding import Adder

        split = passage_splitter(self.encoder, self.settings["passage_tokens"], self.settings["passage_overlap"])
        with self._storage.writing():
            self._catch_up()
            return Adder(self._storage, self.encoder, self._words, split, **options).run(documents)

    def delete(self, ids: Iterable[str]) -> None:
        """Delete documents by id, in one commit. Raises InputError, and deletes none, when an id is not there."""
        with self._storage.writing():
            self._storage.commit(None, lambda transaction: None, numbers_of(self._storage, ids))

    def merge(self) -> None:
        """Make few large segments out of many, and give the space of deleted documents back."""
        with self._storage.writing():
            self._storage.merge()

    def check(self) -> CheckReport:
        """Verify checksums, orders and agreement of everything on disk."""
        return self._storage.check()

    # ---- searching --------------------------------------------------------------------------------------------------

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        mode: Mode = "exact",
        boost: Iterable[str] = (),
        ban: Iterable[str] = (),
        add: Iterable[str] = (),
        where: Where | None = None,
        words: bool = True,
    ) -> list[Hit]:
        """The k best documents for a query, best first, each with its best passage.

        mode: "exact"; "capped" or "two_step" (see `saelex.index.search`), which are faster and may miss some.
        boost, ban, add: concepts to change in the query, after its Top-K: "aviation=2", "4711", "word:lift=0.5".
        where: metadata that a document must have: `{"lang": "en", "year": {">=": 2001}}`; see `saelex.index.filters`.
        words: match exact words beside concepts, in an index that has them.

        Only documents with a score above zero are hits; among equal scores the one added first comes first.
        Raises InputError for an empty query and for concepts, filters or modes that mean nothing here.
        """
        return self.search_batch([query], k, mode=mode, boost=boost, ban=ban, add=add, where=where, words=words)[0]

    def search_batch(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        mode: Mode = "exact",
        boost: Iterable[str] = (),
        ban: Iterable[str] = (),
        add: Iterable[str] = (),
        where: Where | None = None,
        words: bool = True,
    ) -> list[list[Hit]]:
        """The hits of many queries, searched on all cores; arguments as in `search`."""
        if isinstance(queries, str):
            raise InputError("search_batch takes a list of queries; for one query there is search")
        for i, query in enumerate(queries):
            if not isinstance(query, str) or not query.strip():
                raise InputError(f"query {i + 1} is empty; give it a word at least")
        if not queries:
            return []
        self._refresh()
        latents = self.encoder.encode_query(list(queries))
        channel = None if self._words is None else self._words.channel
        steering = Steering.parse(boost, ban, add, resolver(self.encoder.n_latents, self.concepts, channel))
        while True:
            snapshot = self._storage.snapshot
            views = self._views(snapshot, where)
            if views is not None:
                rows = self._beside_words(latents, queries, words)
                searched = [self._searched(text, rows[i], steering, snapshot) for i, text in enumerate(queries)]
                hits = self._hits(searched, self._best_rows(searched, k, mode, views, snapshot))
                if hits is not None:
                    return hits
            # something was committed meanwhile: search what is there now; another thread may have gone on to it already
            if not self._refresh() and self._storage.snapshot is snapshot:
                raise CorruptIndexError(f"{self.path}: a document of the index is missing; run `saelex index --check`")

    def _refresh(self) -> bool:
        """Go on to the last commit: vectors and words at once, so that no thread has the one without the other."""
        with self._storage.catalog.reading():
            changed = self._storage.refresh()
            if changed:
                self._catch_up()
        return changed

    def _catch_up(self) -> None:
        if self._words is not None:
            self._words.catch_up()

    @property
    def _quantiser(self) -> Quantiser:
        return self._storage.quantiser or Quantiser(1.0)  # of an empty index, where every step is as good

    def query_vectors(self, texts: Sequence[str], *, words: bool = True) -> SparseRows:
        """The vectors with which the index searches for these texts, before any steering.

        One row a text; the columns are the encoder's latents and, in an index that has them, the words after them.
        words: False leaves the words' columns empty, as in `search`.
        """
        self._refresh()
        return self._beside_words(self.encoder.encode_query(list(texts)), texts, words)

    def _beside_words(self, latents: SparseRows, texts: Sequence[str], words: bool) -> SparseRows:
        if self._words is None:
            return latents
        return latents.beside(self._words.query(list(texts) if words else [""] * len(texts)))

    def _searched(self, text: str, row: SparseRows, steering: Steering, snapshot: Snapshot) -> SearchedQuery:
        if steering:
            row = steering.apply(row)
        quantiser = self._quantiser
        quantised = quantiser.query(row.latents, row.weights)
        scale = quantised.step * quantiser.step
        return SearchedQuery(text, row, quantised, scale, steering, snapshot, self.encoder, self._words, self.concepts)

    def _views(self, snapshot: Snapshot, where: Where | None) -> list[SegmentView] | None:
        """What to search of the snapshot. None when a filter is needed and the catalogue has gone on to a later commit.

        Its documents then have other numbers: one that was updated would be in neither.
        """
        if not where:
            return snapshot.views
        sql, parameters = condition(where)
        key = snapshot.generation, json.dumps([sql, parameters])
        views = self._filters.get(key)
        if views is None:
            catalog = self._storage.catalog
            with catalog.reading():
                if catalog.generation() != snapshot.generation:
                    return None
                documents = catalog.filtered(sql, parameters)
            views = self._filters[key] = snapshot.views_of(documents)
            while len(self._filters) > _FILTERS_KEPT:
                self._filters.popitem(last=False)
        return views

    def _best_rows(
        self, searched: Sequence[SearchedQuery], k: int, mode: Mode, views: Sequence[SegmentView], snapshot: Snapshot
    ) -> list[list[tuple[int, int]]]:
        """Row and score of the best passage of the k best documents of every query."""
        from saelex.index.batch import search_views

        best: list[list[tuple[int, int]]] = [[] for _ in searched]
        pending, wanted = list(range(len(searched))), k
        while pending:
            tops = search_views(views, [searched[i].quantised for i in pending], wanted, mode)
            short: list[int] = []
            for i, top in zip(pending, tops):
                first = np.sort(np.unique(snapshot.documents[top.rows], return_index=True)[1])[:k]
                best[i] = list(zip(top.rows[first].tolist(), top.scores[first].tolist()))
                if len(first) < k and len(top.rows) == wanted:
                    short.append(i)  # several passages of one document: look further down
            pending, wanted = short, 4 * wanted
        return best

    def _hits(
        self, searched: Sequence[SearchedQuery], found: Sequence[Sequence[tuple[int, int]]]
    ) -> list[list[Hit]] | None:
        """Hits out of rows, or None when a document is gone."""
        catalog, snapshot = self._storage.catalog, searched[0].snapshot
        rows = np.array(sorted({row for best in found for row, _ in best}), np.int64)
        numbers = dict(zip(rows.tolist(), snapshot.documents[rows].tolist()))
        passages = dict(zip(rows.tolist(), snapshot.passages[rows].tolist()))
        with catalog.reading():
            documents, borders = catalog.documents(set(numbers.values())), catalog.passages(passages.values())
        if len(documents) < len(set(numbers.values())):
            return None
        hits: list[list[Hit]] = []
        for query, best in zip(searched, found):
            hits.append([])
            for rank, (row, score) in enumerate(best, start=1):
                document = documents[numbers[row]]
                passage = Passage(*borders.get(passages[row], (0, len(document.content))))
                reasons = partial(query.explain, document, passage, row)
                hits[-1].append(Hit(rank, score * query.scale, document, passage, reasons))
        return hits


class StoredRows(NamedTuple):
    """Some passages of an index: ids of their documents, their texts, and their vectors as stored."""

    ids: list[str]
    texts: list[str]
    rows: SparseRows
