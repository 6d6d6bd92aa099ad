"""What evaluation has computed once, on disk: vectors by the encoder's fingerprint, runs by what they are made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saelex.corpus.documents import Run
from saelex.encoder.encoder import Encoder
from saelex.encoder.settings import Side
from saelex.errors import InputError
from saelex.files import cache_folder, expanded, replacing, write_text, writing
from saelex.reading.arrays import read_npy
from saelex.reading.json_object import read_json
from saelex.vectors import SparseRows

_FORMAT = 2  # part of every key: another number forgets all that earlier versions have kept


class VectorsCache:
    """A folder of vectors and runs; None is `evaluation` in the user's cache folder.

    Nothing is ever changed in it: other weights, settings or texts have other names. Vectors are kept whole, before any
    Top-K, so that one encoding serves every Top-K. Deleting the folder, or any entry, only costs computing again.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = expanded(folder) if folder else cache_folder() / "evaluation"

    def rows(self, encoder: Encoder, texts: Sequence[str], side: Side, *, progress: bool = False) -> SparseRows:
        """The texts' vectors as `encoder.encode(texts, side=side, top_k=None)` gives them, without token positions.

        They come memory-mapped. Raises InputError for an entry that is damaged, or a folder that cannot be written.
        """
        entry = self._entry(encoder, texts, side)
        if not entry.exists():
            _make(entry.parent)
            rows = replace(encoder.encode(texts, side=side, top_k=None, progress=progress), positions=None)
            try:
                rows.save(entry)
            except InputError:
                if not entry.exists():  # else another process was first, with the same vectors
                    raise
        with _said_how_to_mend(entry):
            return SparseRows.load(entry)

    def embeddings(
        self, facts: Any, texts: Sequence[str], compute: Callable[[Sequence[str]], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """The texts' embeddings as `compute` gives them, float32 [texts, d_model], memory-mapped.

        facts: JSON values: all that decides them beside the texts. Raises InputError as `rows` does.
        """
        entry = self.folder / "embeddings" / f"{digest([_FORMAT, facts], texts)[:40]}.npy"
        if not entry.exists():
            _make(entry.parent)
            embedded = compute(texts)
            with writing(entry), replacing(entry) as temporary, temporary.open("wb") as file:
                np.save(file, embedded)
        with _said_how_to_mend(entry):
            return read_npy(entry, mmap=True)

    def _entry(self, encoder: Encoder, texts: Sequence[str], side: Side) -> Path:
        fingerprint = encoder.fingerprint
        # the fingerprint is of the weights, not of the precision they compute in
        key = digest([_FORMAT, fingerprint, str(encoder.backbone.dtype)], texts)
        return self.folder / "vectors" / f"{fingerprint[:16]}-{side}-{key[:24]}"

    def runs(self, facts: Any, texts: Iterable[str], compute: Callable[[], dict[str, Run]]) -> dict[str, Run]:
        """The runs that `compute` gives, by name.

        facts, texts: all that decides them; facts are JSON values. Raises InputError as `rows` does.
        """
        entry = self.folder / "runs" / f"{digest([_FORMAT, facts], texts)[:40]}.json"
        if not entry.exists():
            _make(entry.parent)
            runs = compute()
            write_text(entry, [json.dumps(runs)])
            return runs
        with _said_how_to_mend(entry):
            return read_json(entry)


def digest(facts: Any, texts: Iterable[str]) -> str:
    """sha256 over JSON values and texts; the lengths keep texts apart."""
    hashed = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        hashed.update(b"%d:" % len(content) + content)
    return hashed.hexdigest()


def _make(folder: Path) -> None:
    """Before the work, so that it is not in vain. Raises InputError for a folder that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made for the cache: {error.strerror or error}") from error


@contextmanager
def _said_how_to_mend(entry: Path) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{entry}: a damaged entry of the cache; delete it, and it is computed again") from error
