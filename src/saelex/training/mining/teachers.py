"""Teachers: models that say how well a document answers a query, for all pairs of a file, a range of them at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.dense.sentence_transformers import load_sentence_transformers
from saelex.encoder.dense.settings import CONFIG, dense_settings, open_dense, stored_json
from saelex.encoder.files.folder import EMBEDDED, embedded_folder
from saelex.errors import InputError
from saelex.files import expanded_text, sha256_of
from saelex.reading.regular import is_folder
from saelex.training.mining.embeddings import (
    DenseModel,
    SparseModel,
    StoredVectors,
    TwoSidedModel,
)

Kind = Literal["cross", "dense", "sparse"]
_TOGETHER = 32  # batches handed to a cross-encoder at once, which sorts them by tokens, between two steps of the bar


@dataclass(frozen=True, eq=False)
class Pairs:
    """Every different pair of a file, those of a query together.

    query, document: int64 [pairs], indices into the ids and texts.
    """

    query_ids: list[str]
    document_ids: list[str]
    query_texts: list[str]
    document_texts: list[str]
    query: NDArray[np.int64]
    document: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.query)


Done = Callable[[int], object]
"""Told of every few pairs that are scored: a progress bar's update."""

Score = Callable[[int, int, Done], NDArray[np.float32]]
"""Start and end of a range of pairs -> their scores."""


class Teacher(NamedTuple):
    """Something that scores pairs.

    name: as in the file's metadata. facts: what tells it from another of the same name; JSON. open: makes it ready for
    these pairs; it may keep files in the folder it is given, which goes when all is done.
    """

    name: str
    facts: Mapping[str, Any]
    open: Callable[[Pairs, Path], AbstractContextManager[Score]]


def model_teacher(
    model: str, name: str, *, kind: Kind | None = None, batch_size: int = 32, progress: bool = False
) -> Teacher:
    """A cross-encoder, dense model or saelex encoder, by hub id or folder.

    kind: None tells it by the model's files. Scores are logits of a cross-encoder (without its activation), a dense
    model's own similarity (cosine or dot product, mostly), dot products of a saelex encoder. Raises InputError for a
    model that is not there.
    """
    source = str(embedded_folder(model)) if model in EMBEDDED else expanded_text(model)
    kind = kind or kind_of(source)
    openers: dict[Kind, Callable[[Pairs, Path], AbstractContextManager[Score]]] = {
        "cross": partial(_cross, source, batch_size),
        "dense": partial(_two_sided, partial(DenseModel, source, batch_size), progress),
        "sparse": partial(_two_sided, partial(SparseModel, source), progress),
    }
    return Teacher(name, {"kind": kind} | _version(source, kind), openers[kind])


def kind_of(model: str) -> Kind:
    """What sort of teacher a model is: what sentence-transformers wrote beside it, or else its architecture, tells.

    Raises InputError for a model that is not there, or of which the files tell neither.
    """
    kinds: dict[str, Kind] = {"CrossEncoder": "cross", "SentenceTransformer": "dense", "SparseEncoder": "sparse"}
    checkpoint = open_dense(model)
    written = stored_json(checkpoint, CONFIG).get("model_type")
    if isinstance(written, str) and written in kinds:
        return kinds[written]
    if dense_settings(checkpoint) is not None:
        return "dense"  # sentence-transformers wrote no type before version 5, and no cross-encoder in this form
    if any(one.endswith("ForSequenceClassification") for one in checkpoint.settings.get("architectures") or []):
        return "cross"
    raise InputError(f"{model}: its files do not say what kind of teacher it is; add --cross or --dense")


def _version(model: str, kind: Kind) -> dict[str, Any]:
    """The revision of a hub model; sha256 of a folder's weights, since its name tells little.

    Of a dense model its settings too: another prompt makes other scores.
    """
    checkpoint = open_dense(model)
    facts: dict[str, Any] = {"revision": checkpoint.revision}
    if is_folder(checkpoint.model_id):
        files = sorted(Path(checkpoint.model_id).rglob("*"))
        hashes = [sha256_of(path) for path in files if path.suffix in (".safetensors", ".bin")]
        facts = {"weights_sha256": hashlib.sha256("\n".join(hashes).encode()).hexdigest()}
    settings = dense_settings(checkpoint) if kind == "dense" else None
    return facts if settings is None else facts | {"settings": asdict(settings)}


# ---- how they score -------------------------------------------------------------------------------------------------


@contextmanager
def _two_sided(load: Callable[[], TwoSidedModel], progress: bool, pairs: Pairs, folder: Path) -> Iterator[Score]:
    """Encode each text once, keeping the vectors in the folder; a pair's score is then one product."""
    model = load()
    queries = StoredVectors(model, pairs.query_texts, "query", folder, progress=progress)
    documents = StoredVectors(model, pairs.document_texts, "document", folder, progress=progress)

    def score(start: int, stop: int, done: Done) -> NDArray[np.float32]:
        done(stop - start)
        return model.products(queries.take(pairs.query[start:stop]), documents.take(pairs.document[start:stop]))

    yield score


@contextmanager
def _cross(source: str, batch_size: int, pairs: Pairs, _: Path) -> Iterator[Score]:
    """Read every pair by itself, longest first: memory that does not suffice fails at once."""
    import torch

    model = load_sentence_transformers("CrossEncoder", source)

    def score(start: int, stop: int, done: Done) -> NDArray[np.float32]:
        texts = [
            (pairs.query_texts[query], pairs.document_texts[document])
            for query, document in zip(pairs.query[start:stop], pairs.document[start:stop])
        ]
        order = np.argsort([-len(query) - len(document) for query, document in texts], kind="stable")
        scores = np.zeros(len(texts), np.float32)
        for first in range(0, len(order), batch_size * _TOGETHER):
            chosen = order[first : first + batch_size * _TOGETHER]
            logits = model.predict(
                [texts[i] for i in chosen],
                batch_size=batch_size,
                activation_fn=torch.nn.Identity(),
                show_progress_bar=False,
            )
            scores[chosen] = _one_each(np.asarray(logits), len(chosen), source)
            done(len(chosen))
        return scores

    yield score


def _one_each(logits: NDArray[Any], pairs: int, source: str) -> NDArray[Any]:
    if logits.size != pairs:
        raise InputError(f"{source} gives {logits.shape[-1]} numbers for a pair; a teacher gives one")
    return logits.reshape(pairs)
