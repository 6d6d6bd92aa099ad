"""Texts to vectors: together by token budget, and queries once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.index.fakes import FakeEncoder

from saelex.errors import InputError
from saelex.server.encoding import Encoding
from saelex.server.metrics import Metrics
from saelex.server.settings import Settings
from saelex.vectors import SparseRows


class Counting(FakeEncoder):
    """Keeps the texts of every call; knows one that cannot be encoded."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[str]] = []

    def encode_query(self, texts: str | Sequence[str]) -> SparseRows:
        return self._kept(list(texts))

    def encode_document(self, texts: str | Sequence[str]) -> SparseRows:
        return self._kept([*texts, "document"])[: len(texts)]

    def _kept(self, texts: list[str]) -> SparseRows:
        self.calls.append(texts)
        if "bad" in texts:
            raise InputError("a bad text")
        return super().encode_query(texts)


def encoding(encoder: FakeEncoder, **settings: int) -> Encoding:
    return Encoding(encoder, "test", Settings(**settings), Metrics())  # type: ignore[arg-type]


def same(row: SparseRows, text: str) -> bool:
    expected = FakeEncoder().encode_query([text])
    return len(row) == 1 and row.to_dicts() == expected.to_dicts() and row.positions is not None


def test_rows_are_the_encoders_in_the_order_of_the_texts_each_text_once() -> None:
    encoder = Counting()
    texts = ["wing", "money zip", "wing"]
    made = asyncio.run(encoding(encoder).encode(texts, "query"))
    assert all(map(same, made.rows, texts)) and encoder.calls == [["money zip", "wing"]]


def test_a_batch_holds_as_many_tokens_as_the_budget() -> None:
    encoder = Counting()  # each word is a token, between two others
    texts = ["a", "b c", "d", "one two three four five six seven eight", "e"]
    asyncio.run(encoding(encoder, batch_tokens=7).encode(texts, "query"))
    # of a batch the longest text comes first
    assert encoder.calls == [["b c", "a"], ["d"], ["one two three four five six seven eight"], ["e"]]


def test_texts_of_one_pass_are_of_like_length() -> None:
    encoder = Counting()
    long, short = "wing " * 498 + "lift", [f"zip{n}" for n in range(5)]
    texts = [short[0], long, *short[1:]]
    made = asyncio.run(encoding(encoder).encode(texts, "query"))
    assert encoder.calls == [[long, short[0]], short[1:]]  # 501 tokens twice, then 3 of each
    assert all(map(same, made.rows, texts))


def test_queries_are_kept_and_the_longest_unused_goes_first() -> None:
    encoder = Counting()
    one = encoding(encoder, cached_queries=2)

    async def ask() -> None:
        for text in ("a", "b", "a", "c", "a", "b"):
            await one.encode([text], "query")
        await one.encode(["a"], "document")
        await one.encode(["a"], "document")

    asyncio.run(ask())
    assert encoder.calls == [["a"], ["b"], ["c"], ["b"], ["a", "document"], ["a", "document"]]


def test_a_text_that_cannot_be_encoded_spoils_no_other() -> None:
    async def ask() -> tuple[SparseRows, Exception]:
        one = encoding(Counting())
        good, bad = await asyncio.gather(
            one.encode(["wing"], "query"), one.encode(["bad"], "query"), return_exceptions=True
        )
        assert not isinstance(good, BaseException) and isinstance(bad, Exception)
        return good.rows[0], bad

    row, error = asyncio.run(ask())
    assert same(row, "wing") and isinstance(error, InputError)


def test_settings_that_cannot_be() -> None:
    for wrong in ({"queue": 0}, {"batch_tokens": -1}, {"batch_wait": 0.006}, {"api_key": " "}, {"seconds": 0}):
        with pytest.raises(InputError):
            Settings(**wrong)  # type: ignore[arg-type]
