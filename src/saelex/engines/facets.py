"""Metadata as every engine can filter it: equality as tags, comparisons as numbers and texts under flat names.

Engines differ in what equals what in JSON (1 and 1.0 and true, a list and its items, null and nothing); tags that are
written here are the same everywhere, and mean what `saelex.index.filters` says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from saelex.errors import InputError
from saelex.index.filters import GROUPS, Where, condition, every_test

ENTRY = "entry"
"""A tag that every passage has, and the records that say what a collection holds do not."""

_LONGEST = 200  # bytes of a tag; longer values are known by their hash


class Facets(NamedTuple):
    """What the metadata of one document are filtered by. Names are those of `where`, with dots inside objects."""

    tags: list[str]
    numbers: dict[str, float]
    texts: dict[str, str]

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Facets:
        """Fields whose names hold a dot or a quotation mark cannot be asked for, and are left out."""
        tags, numbers, texts = [ENTRY], dict[str, float](), dict[str, str]()
        for field, value in _fields(metadata, ""):
            items = value if isinstance(value, (list, tuple)) else [value]
            tags += [_tag(field, item) for item in items if not isinstance(item, (list, tuple, Mapping))]
            if isinstance(value, str):
                texts[field] = value
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                numbers[field] = value
        return cls(list(dict.fromkeys(tags)), numbers, texts)


class Test(NamedTuple):
    """One thing that must hold. operator: "any" or "none" of the tags in `value`; or <, <=, >, >= a number or text."""

    field: str
    operator: str
    value: Any

    @property
    def kind(self) -> str:
        """Where a comparison looks: "numbers" or "texts"."""
        return "texts" if isinstance(self.value, str) else "numbers"


def tests_of(where: Where | None) -> list[Test]:
    """A filter as tests that must all hold. Raises InputError for one that cannot be understood."""
    if not where:
        return []
    condition(where)
    if grouped := [name for name in where if name in GROUPS]:
        raise InputError(f"where: {grouped[0]!r}: engines filter by tests that must all hold; groups are for an index")
    found: list[Test] = []
    for field, operator, value in every_test(where):
        if operator == "exists":
            raise InputError(f"where: {field} exists: engines filter by values; whether there is one is for an index")
        values = list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
        if any(isinstance(one, (Mapping, list, tuple, set, frozenset)) for one in values):
            raise InputError(f"where: {field}: engines filter by fields and their values, not by {value!r}")
        if operator in ("<", "<=", ">", ">="):
            found.append(Test(field, operator, value))
        else:
            tags = [_tag(field, one) for one in values]
            found.append(Test(field, "none" if operator in ("!=", "not in") else "any", tags))
    return found


def only_numbers(tests: Sequence[Test], engine: str) -> None:
    """Raises InputError for a comparison of texts, which some engines cannot make."""
    for test in tests:
        if test.operator not in ("any", "none") and test.kind == "texts":
            raise InputError(
                f"where: {engine} compares numbers, not texts such as {test.field} {test.operator} {test.value!r}"
            )


def _fields(metadata: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in metadata.items():
        if isinstance(name, str) and name and "." not in name and '"' not in name:
            yield prefix + name, value
            if isinstance(value, Mapping):
                yield from _fields(value, f"{prefix}{name}.")


def _tag(field: str, value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    tag = f"{field}={json.dumps(value, ensure_ascii=False)}"
    if len(raw := tag.encode("utf-8", "surrogatepass")) <= _LONGEST:
        return tag
    return f"#{hashlib.blake2b(raw, digest_size=16).hexdigest()}"
