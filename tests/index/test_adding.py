"""When an add commits, and what is kept of one that is interrupted. Time is a number that the encoder moves on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.index.fakes import FakeEncoder, make_documents

from saelex.corpus.documents import Document
from saelex.index.adding import COMMIT_SECONDS, Adder
from saelex.index.index import Index
from saelex.vectors import SparseRows


@dataclass
class Work:
    """A slow encoder's clock: what was encoded when, and what stops it."""

    seconds_a_text: float
    stop_after: int = 10**9
    stop: BaseException = field(default_factory=KeyboardInterrupt)
    now: float = 0.0
    encoded: int = 0

    def clock(self) -> float:
        return self.now


class SlowEncoder(FakeEncoder):
    work: Work | None = None

    def encode_document(self, texts: str | Sequence[str]) -> SparseRows:
        for _ in texts if self.work is not None else ():
            assert self.work is not None
            if self.work.encoded == self.work.stop_after:
                raise self.work.stop
            self.work.encoded += 1
            self.work.now += self.work.seconds_a_text
        return super().encode_document(texts)


def add(index: Index, encoder: SlowEncoder, work: Work, documents: Sequence[Document] | Iterator[Document]) -> None:
    encoder.work = work
    with index._storage.writing():
        Adder(index._storage, index._words, index._encoded_passages(), resume=True, clock=work.clock).run(documents)


@pytest.mark.parametrize("seconds", [0.001, 0.05, 0.2, 1.0])
@pytest.mark.parametrize("stop_after", [333, 777])
def test_a_crash_costs_no_more_than_the_last_half_minute(tmp_path: Path, seconds: float, stop_after: int) -> None:
    """Whatever the machine's speed. A MemoryError is as good as a kill: nothing is committed on its way out."""
    encoder, documents = SlowEncoder(), make_documents(900)
    with Index.create(tmp_path / "i", encoder) as index:
        work = Work(seconds, stop_after, MemoryError())
        with pytest.raises(MemoryError):
            add(index, encoder, work, documents)
        assert (stop_after - len(index)) * seconds <= COMMIT_SECONDS
        assert index.check().ok
        add(index, encoder, Work(seconds), documents)
        assert len(index) == 900 and index.check().ok


@pytest.mark.parametrize("seconds", [3.0, 14.0, 29.0])
def test_a_single_passage_may_take_nearly_as_long(tmp_path: Path, seconds: float) -> None:
    encoder = SlowEncoder()
    with Index.create(tmp_path / "i", encoder) as index:
        with pytest.raises(MemoryError):
            add(index, encoder, Work(seconds, 33, MemoryError()), make_documents(40))
        assert (33 - len(index)) * seconds <= COMMIT_SECONDS and index.check().ok


def test_long_documents_after_short_ones_are_not_taken_for_as_quick(tmp_path: Path) -> None:
    """As where titles come before texts: time goes by length, and nothing of a second minute is lost."""

    class ByLength(SlowEncoder):
        def encode_document(self, texts: str | Sequence[str]) -> SparseRows:
            if self.work is not None:
                self.work.seconds_a_text = 0.0003 * sum(map(len, texts)) / len(texts)
            return super().encode_document(texts)

    encoder, titles = ByLength(max_document_length=None), make_documents(1000)
    books = [Document(f"b{i}", f"only{i} " + "wing " * 2000) for i in range(60)]  # 3 s each
    with Index.create(tmp_path / "i", encoder) as index:
        work = Work(0.0, len(titles) + 40, MemoryError())
        with pytest.raises(MemoryError):
            add(index, encoder, work, [*titles, *books])
        assert (len(titles) + 40 - len(index)) * 3.1 <= COMMIT_SECONDS and index.check().ok


def test_a_quick_machine_commits_seldom(tmp_path: Path) -> None:
    encoder = SlowEncoder()
    with Index.create(tmp_path / "i", encoder) as index:
        before = index._storage.snapshot.generation
        add(index, encoder, Work(0.001), make_documents(900))
        assert index._storage.snapshot.generation == before + 1


def test_an_interrupt_keeps_what_is_encoded_and_says_how_to_go_on(tmp_path: Path) -> None:
    encoder, documents = SlowEncoder(), make_documents(300)
    with Index.create(tmp_path / "i", encoder) as index:
        work = Work(0.01, stop_after=200)
        with pytest.raises(KeyboardInterrupt, match=r"the 127 documents before it are in the index; go on with resume"):
            add(index, encoder, work, documents)
        assert len(index) == 127 and index.check().ok  # parts of 1, 2, 4 .. 64; the one of 128 was under way
        add(index, encoder, Work(0.01), documents)
        assert [index.search(f"only{i}", k=1)[0].id for i in (0, 126, 127, 299)] == ["d0", "d126", "d127", "d299"]


def test_a_source_that_takes_its_time_is_not_waited_for(tmp_path: Path) -> None:
    """One document every two seconds, then none for ever: all but the last ones are there."""
    encoder, work = SlowEncoder(), Work(0.0)

    def source() -> Iterator[Document]:
        for document in make_documents(100):
            work.now += 2.0
            yield document
        raise MemoryError

    with Index.create(tmp_path / "i", encoder) as index:
        with pytest.raises(MemoryError):
            add(index, encoder, work, source())
        assert (100 - len(index)) * 2.0 <= COMMIT_SECONDS + 10


def test_copies_of_a_text_are_encoded_once_over_parts_and_commits(tmp_path: Path) -> None:
    encoder, work = SlowEncoder(), Work(1.0)
    texts = [document.text for document in make_documents(50)]
    with Index.create(tmp_path / "i", encoder) as index:
        add(index, encoder, work, [Document(f"n{i}", texts[i % 50]) for i in range(400)])
        assert work.encoded == 50 and len(index) == 400 and index.check().ok
