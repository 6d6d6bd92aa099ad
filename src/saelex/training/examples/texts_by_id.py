"""Texts by id out of files too large for memory: 16 bytes a text, and the file itself through a memory map."""

from __future__ import annotations

import hashlib
from array import array
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from saelex.corpus.documents import Document
from saelex.corpus.reading import document_of_line
from saelex.errors import InputError
from saelex.training.examples.filtering import PassageFilter
from saelex.training.examples.lines import LineFile

_JSONL = {".jsonl", ".ndjson", ".json"}
_BLANK = -1  # in place of where a line begins: its text is blank


class TextsById:
    """A collection: TSV (`id<TAB>text`, or `id<TAB>title<TAB>text`) or JSONL (_id or id, text, perhaps title).

    A text is its title and text joined by one space. Where each begins is found once and then remembered in the
    user's cache folder. Raises InputError with file and line for a malformed line, and for an id that occurs twice.
    """

    def __init__(self, path: str | Path, *, progress: bool = False) -> None:
        self._file = LineFile(path)
        suffix = Path(self._file.path.stem).suffix if self._file.path.suffix == ".gz" else self._file.path.suffix
        self._is_json = suffix.lower() in _JSONL
        found = self._file.remembered({"layout": "texts"}, lambda: self._find(progress))
        self._keys, self._offsets = found[0], found[1]

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    def places(self, ids: list[str | int]) -> NDArray[np.int64]:
        """Where each id's text begins [ids]. Raises InputError for one that is not there."""
        wanted = np.array([_key(one) for one in ids], dtype=np.int64)
        rows = np.minimum(np.searchsorted(self._keys, wanted), len(self) - 1)
        missing = np.flatnonzero(self._keys[rows] != wanted)
        if len(missing):
            raise InputError(f"the id {ids[int(missing[0])]!r} is not in {self.path}")
        return np.asarray(self._offsets[rows])

    def at(self, place: int) -> str:
        """The text at a place; empty for a blank one."""
        return "" if place == _BLANK else self._document(self._file.at(place), self.path.name).content

    def banned(self, passages: PassageFilter, *, progress: bool = False) -> NDArray[np.int64]:
        """Sorted places of the texts that the filter bans, blank ones among them."""
        if not passages.excludes:
            return np.array([_BLANK], dtype=np.int64)

        def find() -> NDArray[np.int64]:
            lines = self._file.lines(progress=progress)
            found = (line.offset for line in lines if passages.bans_document(self._document(line.text, str(self.path))))
            return np.array([_BLANK, *found], dtype=np.int64)

        return self._file.remembered({"layout": "banned", **passages.facts()}, find)

    def _find(self, progress: bool) -> NDArray[np.int64]:
        """Keys of the ids, sorted, and where their lines begin [2, texts]."""
        keys, offsets = array("q"), array("q")
        for line in self._file.lines(progress=progress):
            document = self._document(line.text, f"{self.path}:{line.number}")
            keys.append(_key(document.id))
            offsets.append(line.offset if document.content else _BLANK)
        if not keys:
            raise InputError(f"{self.path}: holds no texts")
        order = np.argsort(np.asarray(keys), kind="stable")
        found = np.stack([np.asarray(keys)[order], np.asarray(offsets)[order]])
        twice = np.flatnonzero(np.diff(found[0]) == 0)
        if len(twice):
            offset = int(found[1][int(twice[0]) + 1])
            raise InputError(f"{self._file.where(offset)}: a second text with the id of another; ids must be unique")
        return found

    def _document(self, line: str, where: str) -> Document:
        """The text on a line, as the readers of corpora understand it."""
        return document_of_line(line, where, is_json=self._is_json)


def _key(name: str | int) -> int:
    """A decimal id itself; of any other, 63 bits of its hash, below 0. Two ids with one key would be refused."""
    text = str(name)
    if text.isascii() and text.isdecimal() and len(text) < 19 and str(int(text)) == text:
        return int(text)
    return ~(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1)
