"""The word channel as an index keeps it: exact BM25 of what is in the index now, words appended by every commit.

A word's weight and a query's follow from the live passages alone, in whatever order of calls they came and whatever was
there before them. How many passages have a word is read off the postings of the snapshot that is searched. The mean
length comes from two totals that every commit keeps; it is rounded to steps of 4.4 %, so that a commit seldom moves it
from one step to the next and stored weights must seldom be made anew (see `saelex.index.commits`). Half a step moves a
word's score by half a per cent at most.
"""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from saelex.encoder.words.bm25 import Bm25Statistics
from saelex.encoder.words.channel import LexicalChannel, LexicalSettings
from saelex.index.disk.catalog import Catalog, Transaction
from saelex.index.disk.snapshot import Snapshot
from saelex.reading.json_object import JsonObject, parse_json
from saelex.vectors import SparseRows

_STATE = "words"
_STEPS = 16  # of the mean length, from one power of two to the next


class WordTotals(NamedTuple):
    """Of all live passages: how many there are, how many words they have, and how many are in each language."""

    passages: int = 0
    words: int = 0
    languages: Mapping[str, int] = MappingProxyType({})

    @property
    def mean_length(self) -> float:
        """Words of a passage on average, rounded to the nearest step; 0 where there are none."""
        if not self.words:
            return 0.0
        return float(2 ** (round(math.log2(self.words / self.passages) * _STEPS) / _STEPS))

    @classmethod
    def of(cls, counts: SparseRows, languages: Mapping[str, int]) -> WordTotals:
        """Of passages with these counts of words, in these languages."""
        return cls(len(counts), int(counts.weights.sum(dtype=float)), languages)

    def changed(self, come: WordTotals, gone: WordTotals) -> WordTotals:
        """After these passages have come and gone."""
        languages = Counter(self.languages) + Counter(come.languages) - Counter(gone.languages)
        return WordTotals(
            self.passages + come.passages - gone.passages, self.words + come.words - gone.words, languages
        )

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> WordTotals:
        """From `_asdict`, through JSON. Raises InputError for anything else."""
        held = JsonObject(state, "words: not the saved state of an index")
        languages = held.object("languages")
        return cls(held.whole("passages"), held.whole("words"), {code: languages.whole(code) for code in languages})


class WordState:
    """The words of one open index. Writers call `change`, `document`, `store`; readers `catch_up` and `query`."""

    def __init__(self, catalog: Catalog, settings: LexicalSettings, n_latents: int) -> None:
        self._catalog = catalog
        self._settings = settings
        self._n_latents = n_latents
        self._lock = threading.RLock()
        self._stored = False  # whether the catalogue has a state
        self._committed = 0  # words that the catalogue has
        self._totals = self._next = WordTotals()  # of the last commit, and of the one under way
        self.channel = LexicalChannel(settings)
        self.catch_up()

    def __len__(self) -> int:
        return len(self.channel)

    # ---- reading ----------------------------------------------------------------------------------------------------

    def catch_up(self) -> None:
        """Take over what the last commit has and this process has not."""
        with self._lock, self._catalog.reading():
            saved = self._catalog.state(_STATE)
            if saved is None:
                return
            state, later = parse_json(saved, "words"), self._catalog.words(self._committed)
            if self._stored:
                # a writer in this process had its own words in the channel before they were committed
                self.channel.extend(later[len(self.channel) - self._committed :])
            else:
                self.channel = LexicalChannel.from_state(state, later)
            self._stored = True
            self._committed += len(later)
            self._totals = WordTotals.from_state(state)
            self.channel.shares = self._totals.languages

    def query(self, texts: Sequence[str], snapshot: Snapshot) -> SparseRows:
        """Query vectors [texts, words] for one snapshot; words that no live passage of it has are left out."""
        counts = self.channel.count(texts, grow=False)
        frequencies = snapshot.frequencies(counts.latents + self._n_latents)
        rows = self.channel.weigh_queries(counts, frequencies, snapshot.n_live)
        return rows.keep(frequencies > 0)

    def frozen(self, snapshot: Snapshot) -> LexicalChannel:
        """A channel of its own that weighs queries as this one does for one snapshot, whatever is committed later."""
        with self._lock:
            channel = LexicalChannel.from_state(self.channel.to_state(), self.channel)
            channel.shares = dict(self._totals.languages)
            mean_length = self._totals.mean_length
        columns = np.arange(self._n_latents, self._n_latents + len(channel), dtype=np.int32)
        channel.statistics = Bm25Statistics(snapshot.frequencies(columns), snapshot.n_live, mean_length)
        return channel

    def word(self, dimension: int) -> str:
        """The (stemmed) word of a dimension."""
        with self._lock:
            return self.channel.word(dimension)

    # ---- writing ----------------------------------------------------------------------------------------------------

    def change(self, added: Sequence[str], removed: Sequence[str]) -> SparseRows:
        """What the next commit adds and removes, as texts of passages. Vectors of what is added; new words join."""
        counts = self.channel.count(added, grow=True)
        gone = WordTotals.of(self.channel.count(removed, grow=True), self.channel.languages(removed))
        self._next = self._totals.changed(WordTotals.of(counts, self.channel.languages(added)), gone)
        return self.channel.weigh_documents(counts, self._next.mean_length)

    @property
    def reweighs(self) -> bool:
        """Whether the commit under way moves the mean length, so that the weights stored before are not right."""
        return bool(self._totals.words) and self._next.mean_length != self._totals.mean_length

    def document(self, texts: Sequence[str]) -> SparseRows:
        """Document vectors [texts, words] of passages that are stored already, as the commit under way wants them."""
        return self.channel.weigh_documents(self.channel.count(texts, grow=True), self._next.mean_length)

    def store(self, transaction: Transaction) -> None:
        """Write what the catalogue lacks, in the transaction that stores the documents it came with."""
        with self._lock:
            state = {**self.channel.to_state(), **self._next._asdict()}
            transaction.set_state(_STATE, json.dumps(state))
            transaction.add_words(self._committed, self.channel.new_words_since(self._committed))

    def committed(self) -> None:
        """The transaction is through."""
        with self._lock:
            self._stored = True
            self._committed = len(self.channel)
            self._totals = self._next
            self.channel.shares = self._totals.languages

    def take_back(self) -> None:
        """The documents were not stored: neither are their words."""
        with self._lock:
            self._next = self._totals
            if self._stored:
                self.channel.forget_words_since(self._committed)
            else:
                self.channel = LexicalChannel(self._settings)
