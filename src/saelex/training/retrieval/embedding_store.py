"""Dense embeddings of texts on disk, found by their text: what one run has embedded costs the next one nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from saelex.encoder.settings import Side
from saelex.errors import InputError
from saelex.files import check_own, expanded, replacing, write_text
from saelex.reading.json_object import read_json
from saelex.reading.tensors import is_sane, read_safetensors

_MAKER = "embedder.json"


class EmbeddingStore:
    """One embedder's embeddings in a folder: parts of 64-bit keys of texts and rows of unit length in float16.

    A part is written whole and named by its keys, so that an interrupted run leaves what it had, and several processes
    may add at once. All rows are held in memory. A key is of the text and its side, since prompts differ.

    maker: JSON values that tell this embedder from another. Raises InputError for a folder that holds something else,
    another embedder's rows, or damage.
    """

    def __init__(self, folder: str | Path, maker: Mapping[str, Any]) -> None:
        self.folder = expanded(folder)
        check_own(self.folder, _MAKER)
        self._begin(dict(maker))
        self._keys = np.empty(0, np.int64)  # sorted
        self._rows = np.empty((0, 0), np.float16)  # [texts, dimensions]
        self._join([self._read(path) for path in sorted(self.folder.glob("*.safetensors"))])

    def missing(self, texts: Sequence[str], side: Side) -> list[str]:
        """Those of the texts that have no row yet, each once."""
        unique = list(dict.fromkeys(texts))
        known = np.isin(_keys(unique, side), self._keys)
        return [text for text, there in zip(unique, known) if not there]

    def add(self, texts: Sequence[str], side: Side, rows: NDArray[np.float32]) -> None:
        """Keep rows of texts that are missing; rows: [texts, dimensions], of any length above 0."""
        keys, lengths = _keys(texts, side), np.linalg.norm(rows, axis=1, keepdims=True)
        if not np.all(np.isfinite(lengths)) or not lengths.all():
            raise InputError(f"{self.folder}: the embedder gives a text a vector of no direction; take another teacher")
        unit = (rows / lengths).astype(np.float16)
        name = blake2b(keys.tobytes(), digest_size=12).hexdigest()
        with replacing(self.folder / f"{name}.safetensors") as temporary:
            save_file({"keys": torch.from_numpy(keys), "rows": torch.from_numpy(unit)}, temporary)
        self._join([(keys, unit)])

    def take(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        """float32 [texts, dimensions]. Raises InputError for a text that has no row."""
        keys = _keys(texts, side)
        places = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
        found = self._keys[places] == keys if len(self._keys) else np.zeros(len(keys), np.bool_)
        if not found.all():
            text = texts[int(np.argmin(found))]
            raise InputError(f"{self.folder} has no embedding of the {side} {text[:60]!r}; the data have changed")
        rows: NDArray[np.float32] = self._rows[places].astype(np.float32)
        return rows

    def _begin(self, maker: dict[str, Any]) -> None:
        path = self.folder / _MAKER
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(path, [json.dumps(maker, indent=2, ensure_ascii=False) + "\n"])
        elif dict(read_json(path)) != maker:
            raise InputError(f"{self.folder}: holds another embedder's embeddings; name another data.embeddings")

    def _read(self, path: Path) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        file = read_safetensors(path)
        keys, rows = file.get("keys"), file.get("rows")
        if keys is None or rows is None or keys.dtype != torch.int64 or rows.dtype != torch.float16:
            raise InputError(f"{path}: holds no embeddings of texts; delete it")
        if rows.ndim != 2 or keys.shape != rows.shape[:1] or not is_sane(rows):
            raise InputError(f"{path}: is damaged; delete it, and its texts are embedded again")
        return keys.numpy(), rows.numpy()

    def _join(self, parts: list[tuple[NDArray[np.int64], NDArray[np.float16]]]) -> None:
        held = [(self._keys, self._rows)] if len(self._keys) else []
        if not (every := [*held, *parts]):
            return
        if len({rows.shape[1] for _, rows in every}) > 1:
            raise InputError(f"{self.folder}: its parts differ in dimensions; delete the folder")
        self._keys, first = np.unique(np.concatenate([keys for keys, _ in every]), return_index=True)
        self._rows = np.concatenate([rows for _, rows in every])[first]


def _keys(texts: Sequence[str], side: Side) -> NDArray[np.int64]:
    """A number that equal texts of one side share; the same in every process."""
    digests = (blake2b(f"{side}\n{text}".encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    return np.frombuffer(b"".join(digests), "<i8").astype(np.int64)
