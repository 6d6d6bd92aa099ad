"""The indexes that a server serves: each encoder loaded once, and the threads in which each index works."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from saelex.index.hits import Hit
from saelex.index.index import Index
from saelex.server.encoding import Encoding
from saelex.server.metrics import Gauges, Metrics
from saelex.server.queue import Batcher, QueueFullError
from saelex.server.searching import Wanted, search_together
from saelex.server.settings import Settings

Result = TypeVar("Result")

_MOST_WRITES = 16  # that may wait: each holds its documents
_KINDS = {"text": "string", "number": "number", "truth": "boolean", "null": "null"}


def warm(index: Index) -> None:
    """What is loaded or compiled by the first search is so before the first query comes."""
    for hits in index.search_batch(["a", "the first query"], 1):
        for hit in hits:
            hit.snippet()
    if index.concepts is not None:
        index.concepts.led_by("a", 1)


class Work:
    """Threads for what is done for one request alone: reasons, documents, writes. A bounded number may wait."""

    def __init__(self, name: str, threads: int, most: int) -> None:
        self._threads = ThreadPoolExecutor(threads, name)
        self._most = most
        self._waiting = 0

    def __len__(self) -> int:
        """What waits or is under way."""
        return self._waiting

    async def run(self, work: Callable[[], Result]) -> Result:
        """What the call gives. Raises QueueFullError where too many wait, and what the call raises."""
        if self._waiting >= self._most:
            raise QueueFullError
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Let what is under way end."""
        self._threads.shutdown()


class Served:
    """One index of a server. Whatever asks the index does so in one of its threads: its locks must not stop the loop.

    work: threads that all indexes share, for what is done for one request alone.
    """

    def __init__(
        self, name: str, index: Index, encoding: Encoding, work: Work, settings: Settings, metrics: Metrics
    ) -> None:
        self.name = name
        self.index = index
        self.encoding = encoding
        self.work = work
        self.settings = settings
        self.searches: Batcher[Wanted, list[Hit]] = Batcher(
            partial(search_together, index),
            name=f"search-{name}",
            most=settings.queue,
            wait=settings.batch_wait,
            batched=metrics.batched("search"),
        )
        self.writes = Work(f"write-{name}", 1, _MOST_WRITES)  # one after the other
        self._described: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    def describe(self) -> dict[str, Any]:
        """What it is and holds, at its last commit. Call it in a thread."""
        index = self.index
        state = (index.generation, index.concepts)
        if self._described is None or self._described[0] != state:
            self._described = state, self._description()
        return self._described[1]

    def _description(self) -> dict[str, Any]:
        index, concepts = self.index, self.index.concepts
        encoder = str(index.settings["encoder"])
        return {
            "name": self.name,
            "documents": len(index),
            "passages": index.n_passages,
            "latents": index.n_latents,
            "encoder": Path(encoder).name if Path(encoder).is_absolute() else encoder,
            "fingerprint": index.settings["fingerprint"],
            "words": index.settings["words"] is not None,
            "language": index.language,
            "labels": concepts is not None,
            "label_languages": [] if concepts is None else list(concepts.languages),
            "forward": bool(index.settings["forward"]),
            "pruned": bool(index.settings["pruned"]),
            "writable": self.settings.writable,
            "fields": [
                {
                    "name": field.name,
                    "kinds": [_KINDS[kind] for kind in field.kinds if kind in _KINDS],
                    "values": None if field.values is None else list(field.values),
                }
                for field in index.fields()
            ],
        }

    def close(self) -> None:
        self.searches.close()
        self.writes.close()


class Library:
    """All indexes of a server, by name."""

    def __init__(self, indexes: Mapping[str, Index], settings: Settings, metrics: Metrics) -> None:
        self.work = Work("work", min(4, os.cpu_count() or 1), settings.queue)
        self._encodings: dict[str, Encoding] = {}
        self.served: dict[str, Served] = {}
        for name, index in indexes.items():
            fingerprint = str(index.settings["fingerprint"])
            if fingerprint not in self._encodings:
                self._encodings[fingerprint] = Encoding(index.encoder, fingerprint[:12], settings, metrics)
            self.served[name] = Served(name, index, self._encodings[fingerprint], self.work, settings, metrics)
        metrics.watch(Gauges(self._waiting, self._postings_read))

    def shown(self, message: str) -> str:
        """A message with the indexes' names in place of their folders."""
        for name, served in self.served.items():
            message = message.replace(str(served.index.path), name)
        return message

    def close(self) -> None:
        """What is under way ends first."""
        for served in self.served.values():
            served.close()
        for encoding in self._encodings.values():
            encoding.queue.close()
        self.work.close()

    def _postings_read(self) -> dict[str, int]:
        return {name: served.index.postings_read for name, served in self.served.items()}

    def _waiting(self) -> dict[str, int]:
        return {
            "encode": sum(len(encoding.queue) for encoding in self._encodings.values()),
            "search": sum(len(served.searches) for served in self.served.values()),
            "work": len(self.work),
            "write": sum(len(served.writes) for served in self.served.values()),
        }
