"""Training queries as JSON objects: the fields in which files and hub data sets hold them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from saelex.errors import InputError
from saelex.training.examples.example import Passage, TrainingQuery

_POSITIVES = ("positive", "positives")
_NEGATIVES = ("negatives", "negative")
_SCORES = ("scores", "score")
_NUMBERED = re.compile(r"negative_(\d+)")


def training_query(record: Mapping[str, Any], columns: Mapping[str, str]) -> TrainingQuery:
    """The query of an object with the fields query, positive, negatives and scores.

    positive, negatives: a text or a list of texts; negatives may be missing, named negative, or be several fields
    negative_1, negative_2, ...
    scores: the teacher's, null where it has none: of the positives, then of the negatives. A single number beside one
    positive and one negative is the margin between them, as in data for MarginMSE.
    columns: other names of these fields. Raises InputError for a field that is missing or of another type.
    """
    if unknown := set(columns) - {"query", "positive", "negatives", "scores"}:
        raise InputError(f"columns names {min(unknown)!r}; it may name query, positive, negatives and scores")
    query = _field(record, columns.get("query"), ("query",))
    if not isinstance(query, str):
        raise InputError(f"the query is no text; the fields are {_names(record)}, say which by the source's columns")
    positives = _texts(_field(record, columns.get("positive"), _POSITIVES), "positive", record)
    if not positives:
        raise InputError(f"no positive passage; the fields are {_names(record)}, say which by the source's columns")
    negatives = _texts(_negatives(record, columns.get("negatives")), "negatives", record)
    scores = _scores(_field(record, columns.get("scores"), _SCORES), len(positives), len(negatives))
    scored = scored_passages([*positives, *negatives], scores)
    return TrainingQuery(query, scored[: len(positives)], scored[len(positives) :])


def scored_passages(texts: Sequence[str], scores: Sequence[float | None]) -> tuple[Passage, ...]:
    """Texts with their scores."""
    return tuple(Passage(text, score) for text, score in zip(texts, scores, strict=True))


def texts_of(value: Any, name: str) -> list[str]:
    """A list of texts, or one text; null is none. Raises InputError for anything else."""
    listed = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(text, str) for text in listed):
        raise InputError(f"{name} must be a text or a list of texts")
    return listed


def scores_of(value: Any, wanted: int, name: str) -> list[float | None]:
    """As many scores as are wanted; null is none at all. Raises InputError where the number differs or one is none."""
    if value is None:
        return [None] * wanted
    if not isinstance(value, list):
        raise InputError(f"{name} must be a list of numbers")
    if len(value) != wanted:
        raise InputError(f"{len(value)} {name} for {wanted} passages")
    return [None if score is None else _number(score, name) for score in value]


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{name} holds {value!r}, which is no finite number")
    return float(value)


def _texts(value: Any, name: str, record: Mapping[str, Any]) -> list[str]:
    try:
        return texts_of(value, name)
    except InputError as error:
        raise InputError(f"{error}; the fields are {_names(record)}") from error


def _scores(value: Any, n_positives: int, n_negatives: int) -> list[float | None]:
    if isinstance(value, (int, float)) and n_positives == n_negatives == 1:
        return [_number(value, "score"), 0.0]
    return scores_of(value, n_positives + n_negatives, "scores")


def _negatives(record: Mapping[str, Any], own: str | None) -> Any:
    numbered = sorted((int(found[1]), name) for name in record if own is None and (found := _NUMBERED.fullmatch(name)))
    if numbered:
        return [record[name] for _, name in numbered if record[name] is not None]
    return _field(record, own, _NEGATIVES)


def _field(record: Mapping[str, Any], own: str | None, usual: Sequence[str]) -> Any:
    """The field of the name that the user gave, which must be there; else the first of the usual names, or None."""
    if own is not None:
        if own not in record:
            raise InputError(f"no field {own!r}; the fields are {_names(record)}")
        return record[own]
    return next((record[name] for name in usual if name in record), None)


def _names(record: Mapping[str, Any]) -> str:
    return ", ".join(record) or "none"
