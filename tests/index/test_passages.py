"""Splitting long texts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.index.fakes import FakeEncoder

from saelex.errors import InputError
from saelex.index.passages import passage_splitter, split_passages


def spans(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]


def test_a_text_that_fits_is_one_passage() -> None:
    assert split_passages("  Three words only.  ", spans, 4, 1) == [(0, 21)]
    assert split_passages("", spans, 4, 1) == [(0, 0)]


def test_passages_begin_and_end_with_sentences() -> None:
    text = " ".join(f"Sentence number {i} is here." for i in range(10))  # 6 tokens each
    parts = [text[start:end] for start, end in split_passages(text, spans, 20, 6)]
    assert parts[0] == " ".join(f"Sentence number {i} is here." for i in range(3))
    assert all(part.startswith("Sentence number") and part.endswith("here.") for part in parts)
    assert all("Sentence number 2 is here." in part for part in parts[:2])  # the overlap


def test_without_sentences_passages_break_between_words() -> None:
    def pieces(text: str) -> list[tuple[int, int]]:  # like WordPiece: three characters a token
        return [
            (start, min(start + 3, match.end()))
            for match in re.finditer(r"\w+", text)
            for start in range(match.start(), match.end(), 3)
        ]

    text = " ".join(f"longword{i:02d}" for i in range(40))
    for start, end in split_passages(text, pieces, 30, 5):
        assert text[start - 1 : start].strip() == "" and text[end : end + 1].strip() == ""


@settings(max_examples=60, deadline=None)
@given(st.text("ab .!?\n中", max_size=300), st.integers(1, 30), st.data())
def test_passages_cover_everything_within_the_budget(text: str, budget: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, budget // 2))
    passages = split_passages(text, spans, budget, overlap)
    covered = {i for start, end in passages for i in range(start, end)}
    assert all(i in covered for start, end in spans(text) for i in range(start, end))
    inside = [sum(start <= a and b <= end for a, b in spans(text)) for start, end in passages]
    assert max(inside) <= budget
    starts, ends = [start for start, _ in passages], [end for _, end in passages]
    assert starts == sorted(set(starts)) and ends == sorted(set(ends))


def test_no_passage_lies_within_another() -> None:
    assert split_passages("? ?? ??", spans, 3, 1) == [(0, 4), (2, 6), (5, 7)]


def test_the_encoder_sets_the_budget() -> None:
    text = " ".join(["word"] * 200)
    assert len(passage_splitter(FakeEncoder(max_document_length=202), None, None)(text)) == 1
    assert len(passage_splitter(FakeEncoder(max_document_length=201), None, None)(text)) == 2
    assert len(passage_splitter(FakeEncoder(max_document_length=None), 100, 0)(text)) == 2
    with pytest.raises(InputError, match="reads only 64 of a document"):
        passage_splitter(FakeEncoder(), 65, None)
    with pytest.raises(InputError, match="at most half"):
        passage_splitter(FakeEncoder(), 20, 11)
    assert len(passage_splitter(FakeEncoder(max_document_length=None), None, 0)(" ".join(["word"] * 1024))) == 2
