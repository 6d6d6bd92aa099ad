"""The word channel as an index keeps it: statistics frozen by the first documents, words appended by every commit."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable

from saelex.encoder.words.channel import LexicalChannel, LexicalSettings
from saelex.index.disk.catalog import Catalog, Transaction
from saelex.reading.json_object import parse_json
from saelex.vectors import SparseRows

_STATE = "words"


class WordState:
    """The words of one open index. Writers call `fit`, `document`, `store`; readers `catch_up` and `query`."""

    def __init__(self, catalog: Catalog, settings: LexicalSettings) -> None:
        self._catalog = catalog
        self._settings = settings
        self._lock = threading.RLock()
        self._committed = 0  # words that the catalogue has
        self.channel = LexicalChannel(settings)
        self.catch_up()

    @property
    def fitted(self) -> bool:
        """Whether the statistics are frozen already."""
        return self.channel.statistics is not None

    def __len__(self) -> int:
        return len(self.channel)

    # ---- reading ----------------------------------------------------------------------------------------------------

    def catch_up(self) -> None:
        """Take over what the last commit has and this process has not."""
        with self._lock, self._catalog.reading():
            later = self._catalog.words(self._committed)
            if self._committed:
                # a writer in this process had its own words in the channel before they were committed
                self.channel.extend(later[len(self.channel) - self._committed :])
            else:
                saved = self._catalog.state(_STATE)
                if saved is None:
                    return
                self.channel = LexicalChannel.from_state(parse_json(saved, "words"), later)
            self._committed += len(later)

    def query(self, texts: list[str]) -> SparseRows:
        """Query vectors [texts, words]; empty ones as long as the index is."""
        if not self.fitted:
            return SparseRows.empty(0, len(texts))
        return self.channel.query(texts)

    def word(self, dimension: int) -> str:
        """The (stemmed) word of a dimension."""
        with self._lock:
            return self.channel.word(dimension)

    # ---- writing ----------------------------------------------------------------------------------------------------

    def fit(self, texts: Iterable[str]) -> None:
        """Count the statistics on these texts; they are stored with the next commit."""
        self.channel.fit(texts)

    def document(self, texts: list[str]) -> SparseRows:
        """Document vectors [texts, words]; new words join."""
        return self.channel.document(texts)

    def store(self, transaction: Transaction) -> None:
        """Write what the catalogue lacks, in the transaction that stores the documents it came with."""
        with self._lock:
            if not self._committed:
                state = self.channel.to_state()
                state["words"] = []
                transaction.set_state(_STATE, json.dumps(state))
            transaction.add_words(self._committed, self.channel.new_words_since(self._committed))

    def committed(self) -> None:
        """The transaction is through."""
        with self._lock:
            self._committed = len(self.channel)

    def take_back(self) -> None:
        """The documents were not stored: neither are their words."""
        with self._lock:
            if self._committed:
                self.channel.forget_words_since(self._committed)
            else:
                self.channel = LexicalChannel(self._settings)
