"""`Index.asearch`: what `search` gives, beside an event loop that goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.index.fakes import FakeEncoder, WaitingEncoder, make_documents

from saelex.encoder.encoder import Encoder
from saelex.errors import InputError
from saelex.index.index import Index

PATIENCE = 60  # seconds until a test that hangs fails


def found(hits: Sequence[Any]) -> list[tuple[int, str, float]]:
    return [(hit.rank, hit.id, hit.score) for hit in hits]


def test_the_event_loop_goes_on_while_a_search_waits(tmp_path: Path) -> None:
    encoder = WaitingEncoder(PATIENCE)

    async def ask(index: Index) -> list[Any]:
        search = asyncio.create_task(index.asearch("wing", 3, where={"lang": "en"}))
        await asyncio.sleep(0)
        assert not search.done()
        encoder.told.set()  # said by the very loop that waits for the search
        return await search

    with Index.create(tmp_path / "i", encoder) as index:
        index.add(make_documents(20))
        hits = asyncio.run(ask(index))
        assert hits and found(hits) == found(index.search("wing", 3, where={"lang": "en"}))


def test_many_at_once_answer_as_one_after_the_other_while_documents_come(tmp_path: Path) -> None:
    queries = [f"{word} {other}" for word in ("wing", "river", "bank") for other in ("a", "lift", "money")] * 3

    async def ask(index: Index) -> list[list[Any]]:
        adding = asyncio.to_thread(index.add, make_documents(30, start=20))
        *answers, _ = await asyncio.gather(*(index.asearch(query) for query in queries), adding)
        await asyncio.gather(*(asyncio.to_thread(hit.explain) for hits in answers for hit in hits[:1]))
        return [await index.asearch(query) for query in queries]

    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        index.add(make_documents(20))
        answers = asyncio.run(ask(index))
        assert [found(hits) for hits in answers] == [found(index.search(query)) for query in queries]


def test_of_many_first_searches_one_loads_the_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def load(name: str) -> FakeEncoder:
        loaded.append(name)
        return FakeEncoder()

    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        index.add(make_documents(5))
    monkeypatch.setattr(Encoder, "load", load)

    async def ask(index: Index) -> None:
        await asyncio.gather(*(index.asearch("wing") for _ in range(8)))

    with Index.open(tmp_path / "i") as index:
        asyncio.run(ask(index))
    assert len(loaded) == 1


def test_errors_are_those_of_search(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        with pytest.raises(InputError, match="query 1 is empty"):
            asyncio.run(index.asearch(" "))
        with pytest.raises(InputError, match="unknown search mode"):
            asyncio.run(index.asearch("wing", mode="fuzzy"))  # type: ignore[arg-type]
