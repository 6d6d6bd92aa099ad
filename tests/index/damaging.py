"""Copies of an index damaged at random, and the comparison of every answer that they give with the undamaged one.

An answer is right, or there is one SaelexError of one line. Anything else is a fault: another answer, another error, a
process that dies or hangs, a check that finds nothing where an answer was refused. What is damaged is then written to
as well: documents are added and segments merged, so that damage which a rewrite makes look whole is found by the
answers after it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from tests.index.fakes import FakeEncoder, make_documents, random_rows

from saelex.corpus.documents import Document
from saelex.errors import SaelexError
from saelex.index.index import Index
from saelex.index.inverted import InvertedIndex

FILES = {"segments": ("segments/*",), "catalogue": ("catalog.sqlite", "concepts.sqlite", "writer.lock")}
"""What may be damaged, by kind: patterns inside an index folder."""

Answers = dict[str, str]

_PATIENCE = 60  # seconds for one trial, which takes a tenth of one
_LATENTS = 4000
_QUERIES = random_rows(6, _LATENTS, 30, seed=2)
_MODES = ("exact", "capped", "two_step")


class Damaged(NamedTuple):
    """One trial. faults: one line each, empty when all is well; refused: operations that ended in a SaelexError."""

    number: int
    damage: str
    faults: list[str]
    refused: int


def damage_repeatedly(
    folder: Path, damages: int, seed: int = 0, kinds: Sequence[str] = tuple(FILES), first: int = 0
) -> Iterator[Damaged]:
    """Damage a copy of an index `damages` times and compare what it answers; trial after trial from number `first`."""
    samples = {"vectors": folder / "vectors", "documents": folder / "documents"}
    _make_vectors(samples["vectors"])
    _make_documents(samples["documents"])
    truth: dict[str, tuple[Answers, Answers]] = {}
    for name, sample in samples.items():
        copy = Path(shutil.copytree(sample, folder / "truth" / name))
        steps = dict(_perform(name, copy))
        truth[name] = json.loads(steps["answers"]), json.loads(steps["answers when merged"])
        assert steps["add"] == steps["merge"] == "done"
        for answers in truth[name]:
            assert answers["check"] == "true" and not any(map(_is_error, answers.values())), answers
    with _Worker() as worker:
        for number in range(first, first + damages):
            generator = random.Random(f"{seed}/{number}")
            name = generator.choice(list(samples))
            copy = Path(shutil.copytree(samples[name], folder / f"trial{number}"))
            damage = f"{name}: {_damage(copy, generator, generator.choice(list(kinds)))}"
            steps = worker.perform(name, copy)
            faults, refused = _judge(steps, *truth[name])
            yield Damaged(number, damage, faults, refused)
            shutil.rmtree(copy)


# ---- damage ---------------------------------------------------------------------------------------------------------


def _flip_bits(content: bytearray, generator: random.Random, other: bytes) -> bytearray:
    for _ in range(generator.choice([1, 1, 1, 2, 8])):
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    return content


def _zero(content: bytearray, generator: random.Random, other: bytes) -> bytearray:
    start, length = generator.randrange(len(content)), generator.choice([1, 64, 512, 4096])
    content[start : start + length] = bytes(len(content[start : start + length]))
    return content


def _scribble(content: bytearray, generator: random.Random, other: bytes) -> bytearray:
    start, length = generator.randrange(len(content)), generator.choice([4, 64, 512, 4096])
    content[start : start + length] = generator.randbytes(len(content[start : start + length]))
    return content


def _truncate(content: bytearray, generator: random.Random, other: bytes) -> bytearray:
    return content[: generator.choice([0, len(content) - 1, generator.randrange(len(content))])]


def _extend(content: bytearray, generator: random.Random, other: bytes) -> bytearray:
    return content + generator.randbytes(generator.choice([1, 512, 4096]))


def _swap_blocks(content: bytearray, generator: random.Random, other: bytes) -> bytearray:
    size = generator.choice([64, 512, 4096, 1 << 14])
    one, two = (generator.randrange(max(1, len(content) // size)) * size for _ in range(2))
    content[one : one + size], content[two : two + size] = content[two : two + size], content[one : one + size]
    return content


def _repeat_head(content: bytearray, generator: random.Random, other: bytes) -> bytearray:
    size = generator.choice([64, 512, 4096])
    at = generator.randrange(len(content))
    return content[:at] + content[:size] + content[at + (size if generator.random() < 0.7 else 0) :]


def _replace(content: bytearray, generator: random.Random, other: bytes) -> bytearray:
    return bytearray(other)


_DAMAGES = (_flip_bits, _flip_bits, _flip_bits, _zero, _scribble, _truncate, _extend, _swap_blocks, _repeat_head)


def _damage(index: Path, generator: random.Random, kind: str) -> str:
    """Damage one file of this kind, at an unchanged time of change; what was done."""
    files = sorted(file for pattern in FILES[kind] for file in index.glob(pattern))
    file = generator.choice(files)
    name = file.relative_to(index)
    status, content = file.stat(), bytearray(file.read_bytes())
    draw = generator.random()
    if draw < 0.04:
        file.unlink()
        return f"{name} removed"
    if draw < 0.06:  # what is no file at all
        file.unlink()
        (os.mkfifo if draw < 0.05 else os.mkdir)(file)
        return f"{name} replaced by a {'pipe' if draw < 0.05 else 'folder'}"
    after, function = bytes(content), _extend
    while after == content:  # zeros over zeros change nothing
        function = _replace if draw < 0.12 else generator.choice(_DAMAGES) if content else _extend
        other = generator.choice([each for each in files if each != file]).read_bytes()
        after = bytes(function(bytearray(content), generator, other))
    file.write_bytes(after)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    changed = [i for i, (old, new) in enumerate(zip(content, after)) if old != new]
    where = f", bytes {changed[0]}..{changed[-1]} differ" if changed else ""
    return f"{name} {function.__name__[1:]}{where}"


# ---- what is asked --------------------------------------------------------------------------------------------------


def _make_vectors(path: Path) -> None:
    with InvertedIndex.create(path, _LATENTS, pruned=True) as index:
        for first in (0, 150, 300):
            rows = random_rows(150, _LATENTS, 120, seed=first, positions=True)
            index.add([f"d{i}" for i in range(first, first + 150)], rows)
        index.delete([f"d{i}" for i in range(0, 450, 40)])


def _make_documents(path: Path) -> None:
    with Index.create(path, FakeEncoder(_LATENTS), pruned=True) as index:
        for first in (0, 60, 120):
            long = " ".join(f"Part {i} of number only{first + 59}, all about storms." for i in range(30))
            index.add([*make_documents(59, start=first), Document(f"d{first + 59}", long, "Long", {"lang": "fr"})])
        index.delete(["d3", "d70", "d119"])
        index.label()


def _ask_vectors(index: InvertedIndex) -> Iterator[tuple[str, Callable[[], Any]]]:
    def hits(mode: Any) -> Any:
        found = index.search(_QUERIES, 8, mode)
        return found.ids, [scores.tolist() for scores in found.scores]

    for mode in _MODES:
        yield mode, lambda mode=mode: hits(mode)  # type: ignore[misc]
    yield "one", lambda: index.search(_QUERIES[:1], 400).ids
    yield "length", lambda: len(index)
    yield "check", lambda: index.check().ok


def _ask_documents(index: Index) -> Iterator[tuple[str, Callable[[], Any]]]:
    def hits(**options: Any) -> Any:
        batch = index.search_batch(["storm lift only7", "canoe river", "only179 loan", "storms"], 5, **options)
        return [[hit.to_json(explanation=False) for hit in each] for each in batch]

    def stored() -> Any:
        chunks = index.stored(50)
        return [
            (name, text, rows[i].latents.tolist(), rows[i].weights.tolist())
            for names, texts, rows, *_ in chunks
            for i, (name, text) in enumerate(zip(names, texts))
        ]

    for mode in _MODES:
        yield mode, lambda mode=mode: hits(mode=mode)  # type: ignore[misc]
    yield "filter", lambda: hits(where={"lang": "en", "year": {">=": 2001}})
    yield "explain", lambda: [hit.explain().to_json() for hit in index.search("storm lift only7", 3)]
    yield "find", lambda: index.find("only42", "d42").to_json()
    yield "stored", stored
    yield "length", lambda: (len(index), "d3" in index, "d4" in index)
    yield "check", lambda: index.check().ok


# ---- one trial, in a process of its own -----------------------------------------------------------------------------


def _perform(name: str, path: Path) -> Iterator[tuple[str, str]]:
    """Steps by name with what came of them: "done", answers as JSON, or the error with a mark before it."""

    def tried(action: Callable[[], Any]) -> str:
        try:
            return json.dumps(action())
        except SaelexError as error:
            return f"refused: {error}"
        except Exception:
            return f"fault: {traceback.format_exc()}"

    def opened() -> InvertedIndex | Index:
        return InvertedIndex.open(path) if name == "vectors" else Index.open(path, FakeEncoder(_LATENTS))

    def answers() -> str:
        index: InvertedIndex | Index | None = None
        try:
            index = opened()
            asked = _ask_vectors(index) if isinstance(index, InvertedIndex) else _ask_documents(index)
            return json.dumps({question: tried(ask) for question, ask in asked})
        except SaelexError as error:
            return f"refused: {error}"
        except Exception:
            return f"fault: {traceback.format_exc()}"
        finally:
            if index is not None:
                index.close()

    def add() -> None:
        with opened() as index:
            if isinstance(index, InvertedIndex):
                index.add([f"d{i}" for i in range(500, 600)], random_rows(100, _LATENTS, 50, seed=9, positions=True))
            else:
                index.update([*make_documents(20, start=500), Document("d5", "A storm again, and only7.")])

    def merge() -> None:
        with opened() as index:
            index.merge()

    yield "answers", answers()
    yield "add", tried(add).replace("null", "done")
    yield "answers with more", answers()
    yield "merge", tried(merge).replace("null", "done")
    yield "answers when merged", answers()


def _judge(steps: Mapping[str, str], before: Answers, after: Answers) -> tuple[list[str], int]:
    """The faults of one trial, and how many operations were refused."""
    faults: list[str] = []
    refusals: list[str] = []
    truths = [before]
    for step, result in steps.items():
        if step == "add":  # an error after the commit leaves what was added
            truths = [after] if result == "done" else [before, after]
        given = {step: result}
        if step.startswith("answers") and result.startswith("{"):
            given = {f"{step}: {question}": answer for question, answer in json.loads(result).items()}
            faults += _compared(step, json.loads(result), truths)
        refusals += [f"{what}: {answer}" for what, answer in given.items() if answer.startswith("refused: ")]
        faults += [f"{what}: {answer}" for what, answer in given.items() if answer.startswith("fault: ")]
        if step == "answers" and refusals and given.get("answers: check") == "true":
            faults.append(f"the check found nothing, but {refusals[0]}")
    faults += [f"not one line: {refusal}" for refusal in refusals if "\n" in refusal]
    return faults, len(refusals)


def _is_error(result: str) -> bool:
    return result.startswith(("refused: ", "fault: "))


def _compared(step: str, answers: Answers, truths: Sequence[Answers]) -> list[str]:
    def differing(truth: Answers) -> list[str]:
        return [
            f"{step}: {question}: another answer"
            for question, answer in answers.items()
            if question != "check" and not _is_error(answer) and answer != truth[question]
        ]

    return min(map(differing, truths), key=len)


class _Worker:
    """A process that performs trials, so that its death is noticed and not shared."""

    def __init__(self) -> None:
        self._process: Any = None

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def perform(self, name: str, path: Path) -> dict[str, str]:
        if self._process is None:
            # forked: everything is imported already
            context = multiprocessing.get_context("fork")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
        self._pipe.send((name, path))
        steps: dict[str, str] = {}
        while len(steps) < 5:
            if not self._pipe.poll(_PATIENCE):
                steps[f"step {len(steps) + 1}"] = f"fault: hangs for {_PATIENCE} s"
                break
            try:
                step, result = self._pipe.recv()
            except EOFError:
                self._process.join()
                steps[f"step {len(steps) + 1}"] = f"fault: the process died ({self._process.exitcode})"
                break
            steps[step] = result
        else:
            return steps
        self._end()
        return steps

    def _end(self) -> None:
        if self._process is not None:
            self._pipe.close()
            self._process.kill()
            self._process.join()
            self._process = None


def _serve(pipe: Connection) -> None:
    with suppress(EOFError):
        while True:
            for step in _perform(*pipe.recv()):
                pipe.send(step)
