"""Random damages of the files that SQLite keeps in an index, and what a reader makes of each."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.index.fakes import FakeEncoder, make_documents

from saelex.corpus.documents import Document
from saelex.errors import SaelexError
from saelex.index.index import Index

PAGE = 4096
KINDS: dict[str, Callable[[bytearray, random.Random], None]] = {}
_ENCODER = FakeEncoder()
_QUERIES = ("only5 wing", "river bank only12", "only902", "money zip storm", "lift")


class Damaged(NamedTuple):
    """One damage and what came of it: "error", "found by check" or "no difference"."""

    kind: str
    outcome: str


def damages(folder: Path, name: str, number: int, seed: int = 0) -> Iterator[Damaged]:
    """So many damages of the file `name`; AssertionError for the first wrong answer. folder: an empty one.

    Every answer must be the true one or an error of the family, before and after a writer has been there, who must not
    make new checksums for what is damaged.
    """
    whole, path = folder / "whole", folder / "index"
    _make(whole)
    shutil.copytree(whole, path)
    truth = answers(whole)
    assert not any(isinstance(answer, SaelexError) for answer in truth.values())
    content = (whole / name).read_bytes()
    generator = random.Random(seed)
    for i in range(number):
        kind = list(KINDS)[i % len(KINDS)]
        damaged = bytearray(content)
        KINDS[kind](damaged, generator)
        if damaged != content:
            (path / name).write_bytes(damaged)
            yield Damaged(kind, _judged(path, truth, f"{kind}, damage {i} of seed {seed}"))
            if generator.random() < 0.2:
                _judge_writer(path, truth, f"{kind}, damage {i} of seed {seed}, after a writer")
            shutil.rmtree(path)
            shutil.copytree(whole, path)


def answers(path: Path) -> dict[str, Any]:
    """Everything that an index answers, or the error instead."""
    try:
        index = Index.open(path, _ENCODER)
    except SaelexError as error:
        return dict.fromkeys(["open"], error)
    with index:
        return {"open": None, **{name: _answer(ask, index) for name, ask in _QUESTIONS.items()}}


def _answer(ask: Callable[[Index], Any], index: Index) -> Any:
    try:
        return ask(index)
    except SaelexError as error:
        assert "\n" not in str(error)
        return error


def _hits(index: Index, query: str, **options: Any) -> list[Any]:
    return [(hit.rank, hit.score, hit.document, hit.passage) for hit in index.search(query, 70, **options)]


_QUESTIONS: dict[str, Callable[[Index], Any]] = {
    **{query: partial(_hits, query=query) for query in _QUERIES},
    "filter": lambda index: _hits(index, "lift wing", where={"lang": "en", "year": {">=": 2000}}),
    "filter !=": lambda index: _hits(index, "lift wing", where={"lang": {"!=": "en"}}),
    "explain": lambda index: str(index.explain("only902 wing", "long2")),
    "documents": lambda index: [index.document(name) for name in ("d1", "d7", "long1", "d59")],
    "ids": lambda index: [name in index for name in ("d1", "d3", "d45", "nowhere")],
    "n documents": len,
    "fingerprint": lambda index: index.fingerprint,
    "stored": lambda index: [(one.ids, one.texts, one.rows.weights.tolist()) for one in index.stored()],
    "labels": lambda index: list(index.concepts or ()),
    "check": lambda index: index.check().problems,
}


def _make(path: Path) -> None:
    documents = make_documents(60)
    for i in range(3):
        text = " ".join(f"Part {j} only{900 + i}." for j in range(40))
        documents.append(Document(f"long{i}", text, "Long", {"lang": "fr", "tags": ["a", i]}))
    with Index.create(path, _ENCODER) as index:
        index.add(documents[:40])
        index.add(documents[40:])
        index.delete(["d3", "d45"])
        index.update([Document("d7", "only7 changed wing.", metadata={"lang": "xx"})])
        index.label()


def _judged(path: Path, truth: dict[str, Any], what: str) -> str:
    found = answers(path)
    if any(isinstance(answer, SaelexError) for answer in found.values()):
        outcome = "error"
    else:
        outcome = "found by check" if found["check"] else "no difference"
    for name, answer in found.items():
        if name != "check" and not isinstance(answer, SaelexError):
            assert answer == truth[name], f"{what}: a wrong answer to {name!r}"
    return outcome


def _judge_writer(path: Path, truth: dict[str, Any], what: str) -> None:
    """A writer adds, deletes and merges, as far as it comes; then nothing may be wrong and look right."""
    try:
        with Index.open(path, _ENCODER) as index:
            index.add([Document("new", "something else")])
            index.delete(["d20"])
            index.merge()
    except SaelexError as error:
        assert "\n" not in str(error), what
    known = {document.id: document for _, _, document, _ in truth["filter"] + truth["filter !="]}
    try:
        with Index.open(path, _ENCODER) as index:
            if not index.check().ok:
                return
            for name, document in known.items():
                if name in index:
                    assert index.document(name) == document, f"{what}: {name} is altered"
                else:
                    assert name == "d20", f"{what}: {name} is lost"
    except SaelexError:
        return


def _kind(change: Callable[[bytearray, random.Random], None]) -> Callable[[bytearray, random.Random], None]:
    KINDS[change.__name__.strip("_").replace("_", " ")] = change
    return change


@_kind
def _flipped_bit(content: bytearray, generator: random.Random) -> None:
    content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)


@_kind
def _flipped_bit_in_use(content: bytearray, generator: random.Random) -> None:
    """Most of a small catalogue's pages is empty."""
    content[generator.choice([i for i, byte in enumerate(content) if byte])] ^= 1 << generator.randrange(8)


@_kind
def _other_bytes(content: bytearray, generator: random.Random) -> None:
    place, length = generator.randrange(len(content)), generator.choice([1, 2, 4, 16, 64, 512])
    content[place : place + length] = generator.randbytes(len(content[place : place + length]))


@_kind
def _empty_page(content: bytearray, generator: random.Random) -> None:
    place = PAGE * generator.randrange(len(content) // PAGE)
    content[place : place + PAGE] = bytes(PAGE)


@_kind
def _another_page(content: bytearray, generator: random.Random) -> None:
    """As a write that went to the wrong place leaves it."""
    place, other = (PAGE * generator.randrange(len(content) // PAGE) for _ in range(2))
    content[place : place + PAGE] = content[other : other + PAGE]


@_kind
def _cut_off(content: bytearray, generator: random.Random) -> None:
    del content[generator.randrange(len(content)) :]


@_kind
def _damaged_header(content: bytearray, generator: random.Random) -> None:
    content[generator.randrange(100)] ^= 1 << generator.randrange(8)
