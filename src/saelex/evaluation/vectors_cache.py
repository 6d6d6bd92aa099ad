"""What evaluation has computed once, on disk: vectors by the encoder's fingerprint, runs by what they are made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from saelex.corpus.documents import Run
from saelex.encoder.encoder import Encoder
from saelex.encoder.settings import Side
from saelex.errors import InputError
from saelex.files import cache_folder, read_json, write_text
from saelex.vectors import SparseRows

_FORMAT = 1  # part of every key: another number forgets all that earlier versions have kept


class VectorsCache:
    """A folder of vectors and runs; None is `evaluation` in the user's cache folder.

    Nothing is ever changed in it: other weights, settings or texts have other names. Vectors are kept whole, before any
    Top-K, so that one encoding serves every Top-K. Deleting the folder, or any entry, only costs computing again.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder) if folder else cache_folder() / "evaluation"

    def rows(self, encoder: Encoder, texts: Sequence[str], side: Side, *, progress: bool = False) -> SparseRows:
        """The texts' vectors as `encoder.encode(texts, side=side, top_k=None)` gives them, without token positions.

        They come memory-mapped. Raises InputError for an entry that is damaged, or a folder that cannot be written.
        """
        fingerprint = encoder.fingerprint
        # the fingerprint is of the weights, not of the precision they compute in
        key = _digest([_FORMAT, fingerprint, str(encoder.backbone.dtype)], texts)
        entry = self.folder / "vectors" / f"{fingerprint[:16]}-{side}-{key[:24]}"
        if not entry.exists():
            rows = replace(encoder.encode(texts, side=side, top_k=None, progress=progress), positions=None)
            try:
                rows.save(entry)
            except InputError:
                if not entry.exists():  # else another process was first, with the same vectors
                    raise
        return SparseRows.load(entry)

    def runs(self, facts: Any, texts: Iterable[str], compute: Callable[[], dict[str, Run]]) -> dict[str, Run]:
        """The runs that `compute` gives, by name.

        facts, texts: all that decides them; facts are JSON values. Raises InputError as `rows` does.
        """
        entry = self.folder / "runs" / f"{_digest([_FORMAT, facts], texts)[:40]}.json"
        if not entry.exists():
            runs = compute()
            entry.parent.mkdir(parents=True, exist_ok=True)
            write_text(entry, [json.dumps(runs)])
            return runs
        return read_json(entry)


def _digest(facts: Any, texts: Iterable[str]) -> str:
    """sha256 over JSON values and texts; the lengths keep texts apart."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(content) + content)
    return digest.hexdigest()
