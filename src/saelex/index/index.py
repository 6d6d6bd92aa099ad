"""Index: documents in, explained hits out. A folder that holds documents, vectors, words and what latents mean."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from saelex.concepts.concept import WORD_PREFIX
from saelex.concepts.neuronpedia import MOST_FETCHED, Neuronpedia
from saelex.concepts.steering import resolver
from saelex.concepts.store import FILE_NAME, ConceptStore
from saelex.corpus.documents import Document
from saelex.encoder.words.channel import LexicalChannel, LexicalSettings
from saelex.encoder.words.languages import DEFAULT_LANGUAGE, check_told
from saelex.errors import InputError, MismatchError, SaelexError
from saelex.files import absolute, expanded, state_of
from saelex.index.disk.storage import Storage
from saelex.index.engine import distinct
from saelex.index.fields import Field, MetadataFields
from saelex.index.hits import Hit
from saelex.index.inverted import numbers_of, storage_settings
from saelex.index.passages import passage_splitter
from saelex.index.quantise import Quantiser
from saelex.index.request import Request, check_queries, check_query, searched_queries
from saelex.index.stored import StoredRows, firings, stored_rows
from saelex.index.word_state import WordState
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from saelex.concepts.concept import Concept, Published
    from saelex.concepts.explanation import Explanation
    from saelex.concepts.labels import Firing
    from saelex.concepts.published import Fetched
    from saelex.encoder.settings import Side
    from saelex.index.adding import AddReport, FillReport
    from saelex.index.concept_views import ConceptView, ConceptViews, FiredConcept
    from saelex.index.disk.checking import CheckReport
    from saelex.index.filters import Where
    from saelex.index.passage_vectors import PassageVectors
    from saelex.index.request import Mode, SearchOptions
    from saelex.index.text_encoder import TextEncoder

MOST_LABELLED = 50_000
"""Passages that labels are derived from: this goes through some hundreds a second, so it takes minutes."""


class Index:
    """Documents that can be searched by concepts and words. Open it with `create` or `open`.

    Searching is safe from several threads and sees every commit of any process whole; one process at a time writes.
    """

    def __init__(self, storage: Storage, encoder: TextEncoder | None = None) -> None:
        self._storage = storage
        self._encoder: TextEncoder | None = None
        self._loading = Lock()  # of several threads that search first, one loads the encoder
        self._concepts: ConceptStore | None = None
        self._concepts_file: list[int] | None = None  # the one that was opened
        self._postings_read, self._counting = 0, Lock()
        word_settings = storage.settings["words"]
        self._words = None
        if word_settings is not None:
            n_latents = int(storage.settings["n_latents"])
            self._words = WordState(storage.catalog, LexicalSettings(**word_settings), n_latents)
        if encoder is not None:
            self._take(encoder)

    @classmethod
    def create(
        cls,
        path: str | Path,
        encoder: TextEncoder,
        *,
        words: bool | LexicalSettings = True,
        language: str | None = None,
        forward: bool = True,
        pruned: bool = False,
        bits: int = 16,
        passage_tokens: int | None = None,
        passage_overlap: int | None = None,
        wait: float = 0.0,
    ) -> Index:
        """A new index in a new folder, bound to its encoder.

        words: exact words as dimensions beside the latents (see `LexicalChannel`), at the scale the encoder's settings
        name unless LexicalSettings say otherwise. language: of these words, an ISO 639-1 code, "none" or "auto" (see
        `saelex.encoder.words.languages`), where LexicalSettings do not name it; None: what the encoder's settings name.
        forward: keep the vectors row by row as well; it doubles the size, makes explanations instant, and labels are
        derived from them. pruned: keep what the `capped` and `two_step` searches read, too. bits: 8 or 16 for a stored
        weight.
        passage_tokens, passage_overlap: longer documents are split into passages of so many tokens (default: what the
        encoder reads, at most 512) that overlap by so many (default: an eighth). wait: as in `open`.

        Raises InputError where something is there already, or for settings that cannot be.
        """
        passage_splitter(encoder, passage_tokens, passage_overlap)
        if language is not None and words is not True:
            raise InputError(
                "language is of words=True; LexicalSettings name their own, and without words there is none"
            )
        own = LexicalSettings(language or encoder.settings.word_language, scale=encoder.settings.word_scale)
        word_settings = own if words is True else words or None
        stored = storage_settings(bits, forward, pruned)
        quantiser = Quantiser.for_encoder(encoder, bits, words=word_settings is not None)
        settings = {
            "kind": "documents",
            **_encoder_names(encoder.name, path),
            "fingerprint": encoder.fingerprint,
            "n_latents": encoder.n_latents,
            "words": None if word_settings is None else vars(word_settings),
            "passage_tokens": passage_tokens,
            "passage_overlap": passage_overlap,
            **({} if quantiser is None else {"step": quantiser.step}),
            **stored,
        }
        return cls(Storage.create(path, settings, wait=wait), encoder)

    @classmethod
    def open(cls, path: str | Path, encoder: TextEncoder | None = None, *, wait: float = 0.0) -> Index:
        """An index that is there. Without an encoder, the one it was made with is loaded when it is first needed.

        wait: seconds for which `add`, `update`, `delete` and `merge` wait until another process has written, before
        they raise SaelexError; `math.inf` for without end. Labels are one file, replaced whole: nobody waits for them.

        Raises CorruptIndexError for a folder that is damaged or none of ours, MismatchError for another encoder.
        """
        storage = Storage.open(path, wait=wait)
        try:
            if storage.settings.get("kind") != "documents":
                raise InputError("an index of bare vectors; open it with InvertedIndex.open")
            return cls(storage, encoder)
        except InputError as error:
            storage.close()
            raise InputError(f"{path}: {error}") from error
        except BaseException:
            storage.close()
            raise

    @classmethod
    def at(
        cls,
        path: str | Path,
        encoder: TextEncoder | Callable[[], TextEncoder] | None = None,
        *,
        wait: float = 0.0,
        **settings: Any,
    ) -> Index:
        """The index at a path: opened where there is one, else created.

        encoder: for a new index; or what gives it, which is asked only if need be. wait: as in `open`. settings: those
        of `create`.

        Raises InputError for a new index without an encoder, and for settings that one that is there was not created
        with; else as `open` and `create` do.
        """
        if not os.path.lexists(expanded(path)):  # also where no file can have that name
            if encoder is None:
                raise InputError(f"{path}: no such index; give the encoder to make it with")
            return cls.create(path, encoder() if callable(encoder) else encoder, wait=wait, **settings)
        index = cls.open(path, None if callable(encoder) else encoder, wait=wait)
        try:
            index._check_created_with(settings)
        except BaseException:
            index.close()
            raise
        return index

    def _check_created_with(self, settings: Mapping[str, Any]) -> None:
        for name, value in settings.items():
            if name == "language" and value is None:  # as `create` takes it: not named
                continue
            if name not in self.settings and name != "language":
                raise InputError(f"{name!r} is no setting of an index; `Index.create` names them")
            there: Any = self.settings["words"] and self.language if name == "language" else self.settings[name]
            if name == "words" and isinstance(value, bool):
                there = there is not None
            elif name == "words" and value is not None:
                value = vars(value)
            if there != value:
                raise InputError(
                    f"{self.path}: was created with {name}={there}, not {value}; leave it out, or make a new index"
                )

    def close(self) -> None:
        """Let go of all files."""
        if self._concepts is not None:
            self._concepts.close()
        self._storage.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        try:
            content = f"{len(self):,} documents" + ("" if self._words is None else f", {len(self._words):,} words")
        except SaelexError:
            content = "closed"
        return f"Index({str(self.path)!r}, {content}, encoder {self.settings['encoder']!r})"

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
            with self._loading:
                self._load_encoder()
        assert self._encoder is not None
        return self._encoder

    def _load_encoder(self) -> None:
        from saelex.encoder.encoder import Encoder

        if self._encoder is None:  # another thread may have been quicker
            self._take(Encoder.load(self._encoder_source()))

    def _encoder_source(self) -> str:
        """What the encoder is loaded from: its own place, or where it lies beside an index that was moved with it."""
        name: str = self.settings["encoder"]
        beside = self.settings.get("encoder_from_here")
        if beside is None or Path(name).exists() or not (moved := (self.path / beside).resolve()).exists():
            return name
        return str(moved)

    def _take(self, encoder: TextEncoder) -> None:
        if encoder.fingerprint != self.settings["fingerprint"]:
            raise MismatchError(
                f"{self.path}: made with the encoder {self.settings['encoder']!r} "
                f"({self.settings['fingerprint'][:12]}), not with {encoder.name!r} ({encoder.fingerprint[:12]}); "
                "open it with that encoder, or index the documents anew if its files, or what fingerprints cover, have "
                "changed since"
            )
        self._encoder = encoder

    @property
    def n_latents(self) -> int:
        """Latents of its vectors, words not counted."""
        return int(self.settings["n_latents"])

    @property
    def fingerprint(self) -> str:
        """sha256, in hex, of what turns a text into scores here: encoder, words' mean length and integer step."""
        words = None if self._words is None else self._storage.catalog.state("words")
        parts = [self.settings["fingerprint"], self.settings.get("step"), self.settings["bits"], words]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def concepts(self) -> ConceptStore | None:
        """What its latents mean, if `saelex label` has been there, in whatever process."""
        path = self.path / FILE_NAME
        written = state_of(path) if path.exists() else None
        if written is not None and written != self._concepts_file:  # the first, or another one in its place
            self._concepts = ConceptStore.open(path, fingerprint=self.settings["fingerprint"])
            self._concepts_file = written
        return self._concepts

    @property
    def generation(self) -> int:
        """Number of the last commit, of whatever process; what is searched and told next is of it or a later one."""
        self._refresh()
        return self._storage.snapshot.generation

    @property
    def postings_read(self) -> int:
        """Postings that the searches of this object have read so far: what they cost."""
        return self._postings_read

    def fields(self) -> list[Field]:
        """The metadata fields that documents have had, with their kinds (text, number, truth, null) and values.

        Values are what documents have now; none are listed of fields with more than 50, nor in an index of more than
        100,000 documents.
        """
        with self._storage.catalog.reading():
            return self.metadata_fields.listed(self._storage.catalog)

    @property
    def language(self) -> str:
        """Of its words, and of its labels; the default where it keeps no words."""
        return DEFAULT_LANGUAGE if self._words is None else self._words.channel.settings.language

    def label(self, *, language: str | None = None, progress: bool = False) -> int:
        """Derive what its latents mean from its own documents, without a language model, and store it beside them.

        Of more than MOST_LABELLED passages a random sample of so many is read. language: whose stop words and
        inflections count; None is the index's own; under "auto" a corpus of several languages has labels in each of
        them, too. Returns how many latents have a label; see `saelex.concepts.labels`. A label that a user gave (see
        `import_labels`) and what is published stay. Raises InputError without forward rows and for an unknown language.
        """
        from saelex.concepts.label_file import keep_given_labels
        from saelex.concepts.labels import derive_labels

        fired = self.firings(title="labels" if progress else "")
        spoken = self.language if language is None else language
        given = {} if self.concepts is None else self.concepts.given()
        derived = derive_labels(fired, self.n_latents, language=spoken)
        return len(self.write_concepts(keep_given_labels(derived, given)))

    def export_labels(self, path: str | Path) -> int:
        """Write its labels, with evidence and examples, as JSON lines (see `saelex.concepts.label_file`); how many.

        Raises InputError where there are none yet, and when the file cannot be written.
        """
        from saelex.concepts.label_file import write_labels

        if self.concepts is None:
            raise InputError(f"{self.path}: no labels yet; derive them with `saelex label`")
        return write_labels(expanded(path), self.concepts, fingerprint=self.settings["fingerprint"])

    def import_labels(self, path: str | Path) -> int:
        """Take over labels from JSON lines: what a line says of a latent takes the place of what is known.

        A line needs `latent` and `label`; a label that is new here is its user's, and stays when labels are derived
        again. Returns how many latents have a label now. Raises InputError with file and line, and MismatchError for
        labels of another encoder; then nothing changes.
        """
        from saelex.concepts.label_file import read_labels

        known = () if self.concepts is None else self.concepts
        own = {"fingerprint": self.settings["fingerprint"], "n_latents": self.n_latents}
        return len(self.write_concepts(read_labels(expanded(path), known, **own)))

    @property
    def neuronpedia(self) -> str:
        """Neuronpedia's "model/source" of its latents. Raises InputError where the encoder tells none."""
        from saelex.sae.catalogue import neuronpedia_of

        found = neuronpedia_of(getattr(self.encoder, "description", {}))
        if found is None:
            raise InputError(
                f"{self.path}: its encoder does not tell where Neuronpedia shows its latents; if their numbers are "
                "still those of a published SAE, name it: --neuronpedia MODEL/SOURCE"
            )
        return found

    def fetch_published(
        self, source: str | None = None, *, most: int | None = MOST_FETCHED, progress: bool = False
    ) -> Fetched:
        """Store what Neuronpedia shows of the latents that fire here, beside their labels; what it says is kept.

        Those that fire in the most passages are asked for first. source: Neuronpedia's "model/source"; None: the
        encoder's. most: questions in this run (None: one for every latent that is not kept). What was found is stored
        also where `Fetched.stopped` says why it ended early. Raises InputError where nothing was.
        """
        from saelex.concepts.published import fetch_published

        site = Neuronpedia(self.neuronpedia if source is None else source)
        self._refresh()
        counts = self._storage.snapshot.frequencies(np.arange(self.n_latents, dtype=np.int32))
        order = np.argsort(-counts, kind="stable")
        fetched = fetch_published(order[counts[order] > 0].tolist(), site, most=most, progress=progress)
        if fetched.stopped and not fetched.published:
            raise InputError(fetched.stopped)
        self._add_published(fetched.published)
        return fetched

    def import_published(self, path: str | Path, source: str | None = None) -> int:
        """Store what a file of Neuronpedia's exports, or a folder of them, says of the latents; of how many.

        source: as in `fetch_published`. Raises InputError with file and line, MismatchError for another source's file;
        then nothing changes.
        """
        from saelex.concepts.published import read_exports

        published = read_exports(expanded(path), self.neuronpedia if source is None else source, self.n_latents)
        self._add_published(published)
        return len(published)

    def _add_published(self, published: Mapping[int, Published]) -> None:
        from saelex.concepts.label_file import add_published

        if published:
            known = () if self.concepts is None else self.concepts
            self.write_concepts(add_published(known, published))

    @property
    def metadata_fields(self) -> MetadataFields:
        """What filters are checked against; `fields` lists it."""
        return MetadataFields.read(self._storage.catalog)

    def frozen_words(self) -> LexicalChannel | None:
        """What weighs the words of queries now, apart from the index; None in an index without words."""
        self._refresh()
        return None if self._words is None else self._words.frozen(self._storage.snapshot)

    def concepts_in(
        self, text: str, *, side: Side = "query", language: str | None = None, vector: SparseRows | None = None
    ) -> list[FiredConcept]:
        """The concepts that fire in a text, encoded as a query or as a document, heaviest first.

        Each with label, weight, the words at which it fires, and the share of the index's passages in which it does.
        language: of the labels, as in `search`; None: the text's own. vector: the text's over the latents, where it is
        there already.
        """
        check_query(text)
        if vector is not None:
            self._check_columns(vector)
        return self._concept_views(language).in_text(text, side, vector)

    def concept(self, latent: int, *, language: str | None = None) -> ConceptView:
        """All that is known of one latent: label, evidence, examples, density, neighbours, and what fires with it.

        language: of the labels, as in `search`; None: those of the whole corpus. Raises InputError where there is no
        latent of that number.
        """
        return self._concept_views(language).of(latent)

    def densities(self, latents: Sequence[int]) -> list[float]:
        """Share of the index's passages in which each of the latents fires."""
        return self._concept_views(None).shares(np.array(latents, np.int32))

    def concept_named(self, name: str) -> int:
        """The one latent that a name means: an id ("4711", "#4711"), a label, or words of a label.

        Raises InputError, with the candidates, for a name that means none or several.
        """
        if not isinstance(name, str) or not name.strip() or name.strip().startswith(WORD_PREFIX):
            raise InputError(f"{name!r} is no concept; give its id, as in #4711, or its label")
        latents = resolver(self.n_latents, self.concepts)(name)
        if len(latents) > 1:
            labels = "" if self.concepts is None else self.concepts.listed(latents)
            raise InputError(f"{name!r} fits {len(latents)} concepts; name one by its id: {labels}")
        return latents[0]

    def _concept_views(self, language: str | None) -> ConceptViews:
        from saelex.index.concept_views import ConceptViews

        if language is not None:
            check_told(language)
        self._refresh()
        return ConceptViews(self.encoder, self._storage.snapshot, self.concepts, self.language, language)

    def firings(
        self,
        keep: Callable[[str], bool] = lambda name: True,
        *,
        most: int | None = MOST_LABELLED,
        title: str = "",
    ) -> Iterator[Firing]:
        """Passages with their latents, stored weights and tokens, as labels are derived from them. Streams.

        keep: whether a document of this id belongs to it. most: of an index with more passages, so many are drawn at
        random (the same ones every time, kept or not); None reads them all. title: of a progress bar, which says so; ""
        shows none. Raises InputError for an index without forward rows.
        """
        total = self.n_passages
        if most is not None and most < total:
            title = title and f"{title}, from a sample of {most:,} of {total:,} passages"
            total = most
        return firings(self.stored(sample=most), self.encoder, keep, total, title)

    def write_concepts(self, concepts: Iterable[Concept]) -> ConceptStore:
        """Store what its latents mean beside it, in place of what was there."""
        written = ConceptStore.write(self.path / FILE_NAME, concepts, fingerprint=self.settings["fingerprint"])
        old, self._concepts, self._concepts_file = self._concepts, written, state_of(self.path / FILE_NAME)
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
        distinct([name])
        with catalog.reading():
            found = catalog.find([name])
            if not found:
                raise InputError(f"id {name!r} is not in the index")
            return catalog.documents([found[name][0]])[found[name][0]].document

    @property
    def n_passages(self) -> int:
        """Number of passages, those of deleted documents included until a merge drops them."""
        return self._storage.snapshot.n_rows

    def stored(self, chunk: int = 1024, *, sample: int | None = None) -> Iterator[StoredRows]:
        """All passages with their vectors as stored, in chunks: for labels, statistics and exports.

        sample: of an index with more passages than that, so many drawn at random, always the same ones.
        Raises InputError for an index without forward rows.
        """
        self._refresh()
        return stored_rows(self._storage, chunk, sample)

    # ---- changing it ------------------------------------------------------------------------------------------------

    def add(
        self, documents: Iterable[Document | Mapping[str, Any]], *, resume: bool = False, progress: bool = False
    ) -> AddReport:
        """Add documents from any source, in commits of about 10,000 passages, and within 30 seconds of each other.

        documents: `Document`s, or mappings with `id` (or `_id`), `text`, perhaps `title`; further fields are metadata.
        resume: skip documents that are there already with the same content, as after an interrupted add.

        Passages of equal text get equal vectors within one call; between calls their last bits may differ.

        Raises InputError for an id that is there already (with resume: with other content) or comes twice, for an empty
        text or no list of documents, and whatever the source raises. The documents of earlier commits stay and the
        message counts them; none of the batch at fault is added. An interrupt commits what is encoded first.
        """
        return self._add(documents, self._encoded_passages(), resume=resume, progress=progress)

    def update(self, documents: Iterable[Document | Mapping[str, Any]], *, progress: bool = False) -> AddReport:
        """Add documents in place of those with the same ids, if there are any, each batch in one commit."""
        return self._add(documents, self._encoded_passages(), replace=True, progress=progress)

    def add_vectors(
        self,
        documents: Iterable[Document | Mapping[str, Any]],
        rows: SparseRows,
        *,
        passages: Sequence[Sequence[tuple[int, int]]] | None = None,
        resume: bool = False,
        progress: bool = False,
    ) -> AddReport:
        """Add documents whose vectors were made elsewhere, by the encoder that the index is bound to.

        rows: vectors over the latents, [passages, latents], stored as they are: no Top-K, no encoding. Words are added
        here, from the texts. passages: of every document the characters (start, end) of `Document.content` that each of
        its rows is of; None: every document is one passage with one row.

        Raises InputError as `add` does, and where vectors, passages and documents do not go together in number;
        MismatchError for rows with another number of latents.
        """
        from saelex.index.passage_vectors import GivenPassages

        self._check_columns(rows)
        vectors = GivenPassages(rows, passages)
        if isinstance(documents, Sized) and len(documents) != vectors.n_documents:
            raise InputError(f"vectors of {vectors.n_documents} documents for {len(documents)}; nothing was added")
        return self._add(documents, vectors, resume=resume, progress=progress)

    def fill(
        self,
        documents: Iterable[Document | Mapping[str, Any]],
        *,
        resume: bool = False,
        update: bool = False,
        labels: bool = True,
        progress: bool = False,
    ) -> FillReport:
        """`add` (or `update`), then derive labels where something is new and the index keeps forward rows."""
        from saelex.index.adding import FillReport

        if update:
            report = self.update(documents, progress=progress)
        else:
            report = self.add(documents, resume=resume, progress=progress)
        lacking = bool(report.added) or self.concepts is None
        if labels and lacking and self.settings["forward"] and len(self):
            return FillReport(report, self.label(progress=progress))
        return FillReport(report, None)

    def _encoded_passages(self) -> PassageVectors:
        from saelex.index.passage_vectors import EncodedPassages

        split = passage_splitter(self.encoder, self.settings["passage_tokens"], self.settings["passage_overlap"])
        return EncodedPassages(self.encoder, split, self._storage)

    def _add(
        self,
        documents: Iterable[Document | Mapping[str, Any]],
        vectors: PassageVectors,
        *,
        resume: bool = False,
        replace: bool = False,
        progress: bool = False,
    ) -> AddReport:
        from saelex.index.adding import Adder, check_documents

        check_documents(documents)
        with self._storage.writing():
            self._catch_up()
            return Adder(self._storage, self._words, vectors, resume, replace, progress).run(documents)

    def delete(self, ids: Iterable[str]) -> None:
        """Delete documents by id, in one commit. Raises InputError, and deletes none, when an id is not there."""
        from saelex.index.commits import commit

        with self._storage.writing():
            self._catch_up()
            commit(self._storage, self._words, deleted=numbers_of(self._storage, ids))

    def merge(self) -> None:
        """Make few large segments out of many, and give the space of deleted documents back."""
        with self._storage.writing():
            self._storage.merge()

    def check(self) -> CheckReport:
        """Verify checksums, orders and agreement of everything on disk."""
        report = self._storage.check()
        if (self.path / FILE_NAME).exists():
            try:
                ConceptStore.open(self.path / FILE_NAME, fingerprint=self.settings["fingerprint"]).close()
            except SaelexError as error:
                report.problems.append(str(error))
        return report

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
        language: str | None = None,
    ) -> list[Hit]:
        """The k best documents for a query, best first, each with its best passage.

        mode: "exact"; "capped" or "two_step" (see `saelex.index.modes`), which are faster and may miss some.
        boost, ban, add: concepts to change in the query, after its Top-K: "aviation=2", "4711", "word:lift=0.5".
        where: metadata that a document must have: `{"lang": "en", "year": {">=": 2001}}`; see `saelex.index.filters`.
        A field that no document has had, or a value of a kind that it never holds, is an InputError.
        words: match exact words beside concepts, in an index that has them.
        language: of the labels in explanations, an ISO 639-1 code; None: the query's own, where it tells one. A concept
        without a label in it has that of the whole corpus.

        Only documents with a score above zero are hits; among equal scores the one added first comes first.
        Raises InputError for an empty query and for concepts, filters or modes that mean nothing here.
        """
        options: SearchOptions = {
            "mode": mode, "boost": boost, "ban": ban, "add": add, "where": where, "words": words,
            "language": language,
        }  # fmt: skip
        check_query(query)
        return self.search_batch([query], k, **options)[0]

    def search_batch(self, queries: Sequence[str], k: int = 10, **options: Unpack[SearchOptions]) -> list[list[Hit]]:
        """The hits of many queries, searched on all cores; options as in `search`."""
        texts = searched_queries(queries)
        request = self._request(k, options)
        return self._search(self.encoder.encode_query(texts), texts, request) if texts else []

    async def asearch(self, query: str, k: int = 10, **options: Unpack[SearchOptions]) -> list[Hit]:
        """`search` in a thread, so that the event loop goes on meanwhile: for web servers and the like.

        Searches of several tasks run side by side, as those of several threads do; many at once share the same cores,
        so that `search_batch` is the quicker way for many queries that are there together. A task that is cancelled
        stops waiting at once, and its search ends by itself. `hit.explain` and `hit.snippet` are no coroutines:
        `await asyncio.to_thread(hit.explain)`.
        """
        import asyncio

        return await asyncio.to_thread(self.search, query, k, **options)

    def search_vectors(
        self, rows: SparseRows, k: int = 10, *, texts: Sequence[str] | None = None, **options: Unpack[SearchOptions]
    ) -> list[list[Hit]]:
        """The hits of queries whose vectors were made elsewhere, by the encoder that the index is bound to.

        rows: [queries, latents], or [queries, latents + words] as `query_vectors` gives them. texts: what the rows are
        of; words are then matched beside rows of latents alone, and explanations name the query's words. Options as in
        `search`; a row without entries finds nothing.

        Raises MismatchError for rows with another number of columns.
        """
        _check_rows(rows)
        texts = None if texts is None else check_queries(texts, "search_vectors")
        request = self._request(k, options)
        if not self.n_latents < rows.n_latents <= self.n_latents + (0 if self._words is None else len(self._words)):
            self._check_columns(rows)
        if texts is not None and len(texts) != len(rows):
            raise InputError(f"{len(texts)} texts for {len(rows)} query vectors; give one for each")
        return self._search(rows, [""] * len(rows) if texts is None else texts, request) if len(rows) else []

    def find(
        self, query: str, document_id: str, *, vector: SparseRows | None = None, **options: Unpack[SearchOptions]
    ) -> Hit:
        """The hit that one document is for a query, at whatever rank; options as in `search`.

        vector: the query's over the latents, where it is there already. Raises InputError for an id that is not in the
        index, and for a document that scores 0.
        """
        check_query(query)
        request = self._request(1, options)
        self.document(document_id)  # an id that is not there is another matter than a document that does not match
        if vector is None:
            vector = self.encoder.encode_query([query])
        self._check_columns(vector)
        hits = self._search(vector, [query], request, only=document_id)[0]
        if not hits:
            raise InputError(f"document {document_id!r} scores 0, or is filtered out: it shares nothing with the query")
        return hits[0]

    def explain(self, query: str, document_id: str, **options: Unpack[SearchOptions]) -> Explanation:
        """Why a document has its score for a query, whether it is among the best or not; as `find`."""
        return self.find(query, document_id, **options).explain()

    def _request(self, k: int, options: SearchOptions) -> Request:
        """Read before anything is loaded or encoded, so that what cannot be is said at once."""
        self._refresh()
        channel = None if self._words is None else self._words.channel
        request = Request.read(k, resolver(self.n_latents, self.concepts, channel), **options)
        if request.condition is not None:
            self.metadata_fields.check(options.get("where") or {})
        if request.mode != "exact" and not self.settings["pruned"]:
            raise InputError(
                f"{self.path}: was created without what {request.mode} search reads (pruned=True); search it exactly"
            )
        return request

    def _search(
        self, latents: SparseRows, texts: Sequence[str], request: Request, only: str | None = None
    ) -> list[list[Hit]]:
        from saelex.index.search import Search

        return Search(
            self._storage, self._words, self.concepts, lambda: self.encoder, self._refresh, self.n_latents, request,
            self._count_postings,
        ).run(latents, texts, only)  # fmt: skip

    def _count_postings(self, read: int) -> None:
        with self._counting:
            self._postings_read += read

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

    def query_vectors(
        self, texts: Sequence[str], *, words: bool = True, latents: SparseRows | None = None
    ) -> SparseRows:
        """The vectors with which the index searches for these texts, before any steering.

        One row a text; the columns are the encoder's latents and, in an index that has them, the words after them.
        words: False leaves the words' columns empty, as in `search`. latents: the texts' vectors over the latents,
        where they are there already.
        """
        from saelex.index.search import beside_words

        texts = check_queries(texts, "query_vectors")
        self._refresh()
        if latents is None:
            latents = self.encoder.encode_query(list(texts))
        return beside_words(latents, self._words, texts if words else [""] * len(texts), self._storage.snapshot)

    def _check_columns(self, rows: SparseRows) -> None:
        _check_rows(rows)
        if rows.n_latents != self.n_latents:
            raise MismatchError(
                f"{self.path}: its vectors have {self.n_latents} latents, these {rows.n_latents}; "
                "use the encoder that the index was made with"
            )


def _encoder_names(name: str, folder: str | Path) -> dict[str, str | None]:
    """How an index finds its encoder again: by name from everywhere, or by a folder's way from the index's own."""
    from saelex.encoder.files.folder import lasting_name

    name = lasting_name(name)
    way = os.path.relpath(name, absolute(folder)) if Path(name).is_absolute() else None
    return {"encoder": name, "encoder_from_here": way}


def _check_rows(rows: SparseRows) -> None:
    if not isinstance(rows, SparseRows):
        raise InputError(
            f"vectors are SparseRows, not {type(rows).__name__}; SparseRows.from_dense and from_scipy make them"
        )
