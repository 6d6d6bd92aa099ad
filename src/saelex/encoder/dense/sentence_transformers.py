"""Dense models of every other make, by the library that wrote them. Nothing of a model is ever executed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.backbone.checkpoint import Checkpoint
from saelex.encoder.dense.settings import DenseSettings
from saelex.encoder.digest import json_digest
from saelex.encoder.settings import Side
from saelex.encoder.tokens import check_texts
from saelex.errors import InputError, SaelexError
from saelex.files import sha256_of
from saelex.hub import asking_hub
from saelex.installation import needs_extra
from saelex.loading import Loading
from saelex.progress import progress_bar
from saelex.reading.regular import is_folder, reason_of

_READ = (".json", ".safetensors", ".bin", ".txt", ".model")
_TOGETHER = 1024  # texts that the library sorts by length, between two steps of the bar


class SentenceTransformersEmbedder:
    """An `Embedder` by `SentenceTransformer`, with the model's own modules."""

    def __init__(
        self, checkpoint: Checkpoint, settings: DenseSettings, name: str, loading: Loading, *, batch_size: int = 32
    ) -> None:
        self.name = name
        self.similarity = settings.similarity
        self._checkpoint = checkpoint
        self._settings = settings
        self._batch_size = batch_size
        self._model = load_sentence_transformers(
            "SentenceTransformer",
            checkpoint.model_id,
            prompts={"query": settings.query_prompt, "document": settings.document_prompt},
            device=None if loading.device is None else str(loading.device),
            revision=loading.revision,
        )

    @cached_property
    def digest(self) -> str:
        """sha256 over the settings and the hub's commit, or the folder's files."""
        folder = Path(self._checkpoint.model_id)
        files = [path for path in sorted(folder.rglob("*")) if path.suffix in _READ] if is_folder(folder) else []
        held = [[path.relative_to(folder).as_posix(), sha256_of(path)] for path in files]
        return json_digest([held or [self._checkpoint.model_id, self._checkpoint.revision], asdict(self._settings)])

    def embed(self, texts: Sequence[str], side: Side, *, progress: bool = False) -> NDArray[np.float32]:
        """float32 [texts, dimensions]."""
        check_texts(texts)
        encode = self._model.encode_query if side == "query" else self._model.encode_document
        rows: list[NDArray[np.float32]] = []
        with progress_bar(
            total=len(texts), desc=f"{self.name} {side}", unit="text", shown=progress, leave=False
        ) as bar:
            for start in range(0, len(texts), _TOGETHER):
                some = list(texts[start : start + _TOGETHER])
                unit = self._settings.unit_length
                embedded = encode(
                    some, batch_size=self._batch_size, show_progress_bar=False, normalize_embeddings=unit
                )  # [some, dimensions]
                rows.append(embedded.astype(np.float32, copy=False))
                bar.update(len(some))
        return np.concatenate(rows) if rows else np.zeros((0, 0), np.float32)


def load_sentence_transformers(kind: str, source: str, **options: Any) -> Any:
    """A model of one of sentence-transformers' classes. Raises InputError for what it cannot load.

    That is every model that needs code of its own: nothing of a model is ever executed.
    """
    try:
        import sentence_transformers as package
    except ImportError as error:
        raise needs_extra(source, "sentence-transformers", "sentence-transformers") from error
    try:
        with asking_hub(source):
            return getattr(package, kind)(source, trust_remote_code=False, **options)
    except SaelexError:
        raise
    except Exception as error:  # of any kind, at files that are damaged
        raise InputError(f"{source}: sentence-transformers cannot load it ({reason_of(error)})") from error
