"""Labels as JSON lines: out of an index, to be read, edited or carried to another one of the same encoder, and back.

The first line is `{"format": "saelex-labels/1", "fingerprint": ...}`, every other one a concept: `latent`, `label`,
`source`, `density`, `mean_weight`, `evidence`, `examples` and, where it has them, `labels` in languages, such as
`{"de": "Flügel"}`, and `published`, an object of `text`, `author` and `source`. A user's own file needs `latent` and
`label` alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from saelex.concepts.concept import LONGEST_LABEL, UNSHOWN, WORD_PREFIX, Concept, Evidence, Example, Published, Source
from saelex.corpus.lines import read_lines
from saelex.corpus.reading import parse_jsonl
from saelex.encoder.words.languages import check_told
from saelex.errors import InputError, MismatchError
from saelex.files import write_text
from saelex.sae.config import is_neuronpedia_id

FORMAT = "saelex-labels/1"


def write_labels(path: Path, concepts: Iterable[Concept], *, fingerprint: str) -> int:
    """Write all concepts, whole or not at all; returns how many. Raises InputError when it cannot be written."""
    written = [json.dumps(concept.to_json(), ensure_ascii=False) + "\n" for concept in concepts]
    write_text(path, [json.dumps({"format": FORMAT, "fingerprint": fingerprint}) + "\n", *written])
    return len(written)


def read_labels(path: Path, known: Iterable[Concept], *, fingerprint: str, n_latents: int) -> Iterator[Concept]:
    """What is known of the latents, after a file of labels has had its say.

    A line's fields take the place of what is known of its latent; those that it lacks stay. A label that is another one
    than the known, in whatever language, or has no source, is its user's: a user's label stands in all languages but
    those that the line's `labels` name. Latents without a line stay as they are.

    Raises InputError with file and line for what is no such file, MismatchError for one of another encoder.
    """
    concepts = {concept.latent: concept for concept in known}
    read = set[int]()
    entries = parse_jsonl(read_lines(path), dict, str(path))
    where, header = next(entries, (f"{path}:1", {}))
    if header.get("format") != FORMAT:
        raise InputError(f'{where}: not a file of labels, which begins with {{"format": "{FORMAT}", ...}}')
    if header.get("fingerprint") != fingerprint:
        raise MismatchError(f"{path}: its labels are of another encoder ({header.get('fingerprint')!s:.12})")
    for where, record in entries:
        try:
            latent = _latent(record, n_latents)
            if latent in read:
                raise InputError(f"latent {latent} comes twice")
            read.add(latent)
            concepts[latent] = _concept(latent, record, concepts.get(latent))
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    return iter(concepts[latent] for latent in sorted(concepts))


def keep_given_labels(derived: Iterable[Concept], given: Mapping[int, Concept]) -> Iterator[Concept]:
    """Derived concepts with the labels that users gave and with what is published.

    A latent that nothing is derived for stays as the user has it, or has the published label alone. given: by latent.
    """
    left = dict(given)
    for concept in derived:
        known = left.pop(concept.latent, None)
        if known is not None:
            concept = replace(concept, published=known.published)
            if known.source == "user":
                concept = replace(concept, label=known.label, labels=known.labels, source="user")
        yield concept
    for latent, known in left.items():
        if known.source == "user":
            yield known
        elif known.published is not None:
            yield published_alone(latent, known.published)


def add_published(known: Iterable[Concept], published: Mapping[int, Published]) -> Iterator[Concept]:
    """The known concepts with what is published beside their labels, and those that nothing else is known of.

    published: by latent; what was known as published of others stays.
    """
    concepts = {concept.latent: concept for concept in known}
    for latent, text in published.items():
        concept = concepts.get(latent)
        if concept is None or concept.source == "published":
            concepts[latent] = published_alone(latent, text)
        else:
            concepts[latent] = replace(concept, published=text)
    return iter(concepts[latent] for latent in sorted(concepts))


def published_alone(latent: int, published: Published) -> Concept:
    """The concept of a latent that nothing is known of but what is published."""
    return Concept(latent, published.text, (), (), 0.0, 0.0, "published", published=published)


def _latent(record: Mapping[str, Any], n_latents: int) -> int:
    latent = record.get("latent")
    if isinstance(latent, bool) or not isinstance(latent, int) or not 0 <= latent < n_latents:
        raise InputError(f"'latent' is an integer from 0 to {n_latents - 1}, not {latent!r:.40}")
    return latent


def _concept(latent: int, record: Mapping[str, Any], known: Concept | None) -> Concept:
    unknown = record.keys() - Concept.__dataclass_fields__.keys()
    if unknown:
        raise InputError(f"unknown field {min(unknown)!r}; a line has {', '.join(Concept.__dataclass_fields__)}")
    label = _label(record.get("label"))
    concept = known or Concept(latent, "", (), (), 0.0, 0.0, "user")
    fields: dict[str, Any] = {name: read(record[name]) for name, read in _FIELDS.items() if name in record}
    labels = fields.setdefault("labels", concept.labels if concept.label == label else {})
    if "source" not in fields or (known is not None and (known.label, known.labels) != (label, labels)):
        fields["source"] = "user"
    return replace(concept, label=label, **fields)


def _label(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_LABEL or UNSHOWN.search(value):
        raise InputError(f"'label' is one line of at most {LONGEST_LABEL} characters, not {value!r:.60}")
    if value.strip().startswith(WORD_PREFIX):
        raise InputError(f"a 'label' that begins with {WORD_PREFIX} would read as an exact word: {value!r:.60}")
    return value.strip()


def _labels(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise InputError(f"'labels' is an object of languages and labels, not {value!r:.60}")
    for language in value:
        check_told(language)
    return {language: _label(label) for language, label in value.items()}


def _source(value: Any) -> str:
    if value not in get_args(Source):
        raise InputError(f"'source' is one of {', '.join(get_args(Source))}, not {value!r:.40}")
    return str(value)


def _published(value: Any) -> Published:
    if not isinstance(value, dict) or value.keys() != set(Published._fields):
        raise InputError(f"'published' is an object with {', '.join(Published._fields)}, not {value!r:.60}")
    text, author, source = _label(value["text"]), value["author"], value["source"]
    if author != "":
        author = _label(author)
    if not is_neuronpedia_id(source):
        raise InputError(f"'source' of 'published' is Neuronpedia's model/source, not {source!r:.60}")
    return Published(text, author, source)


def _number(name: str) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        # an integer of hundreds of digits is no float
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e300:
            raise InputError(f"{name!r} is a finite number, not {value!r:.40}")
        return float(value)

    return read


def _rows(name: str, row: type[Evidence] | type[Example]) -> Callable[[Any], tuple[Any, ...]]:
    kinds = {field: float if field in ("strength", "weight") else str for field in row._fields}

    def read(value: Any) -> tuple[Any, ...]:
        rows: list[Any] = value if isinstance(value, list) else [None]
        if not all(isinstance(one, dict) and one.keys() == kinds.keys() for one in rows):
            raise InputError(f"{name!r} is a list of objects with {', '.join(kinds)}")
        return tuple(row(**{field: _typed(field, one[field], kind) for field, kind in kinds.items()}) for one in rows)

    return read


def _typed(field: str, value: Any, kind: type) -> Any:
    if kind is float:
        return _number(field)(value)
    if not isinstance(value, str):
        raise InputError(f"{field!r} is a string, not {value!r:.40}")
    return value


_FIELDS: Mapping[str, Callable[[Any], Any]] = {
    "source": _source,
    "density": _number("density"),
    "mean_weight": _number("mean_weight"),
    "evidence": _rows("evidence", Evidence),
    "examples": _rows("examples", Example),
    "labels": _labels,
    "published": _published,
}
