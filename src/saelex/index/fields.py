"""Which metadata fields an index's documents have, and what they hold: a filter on another is a slip, not an answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from saelex.errors import InputError
from saelex.index.disk.catalog import Catalog, Transaction
from saelex.index.filters import Where, every_test, json_path

MOST_FIELDS = 1000
"""Of documents with more different fields than that none are kept, and filters are not checked against them."""

MOST_VALUES = 50
"""Different values of a field that are listed; one with more is chosen from by typing."""
MOST_LISTED = 100_000
"""Documents: of more, listing a field's values takes seconds, and none are."""

_STATE = "fields"
_NAMED = 20  # fields that a message names
_OF_ANY_KIND = ("!=", "not in", "exists")  # true answers, whatever the field holds


class Field(NamedTuple):
    """What documents have in one metadata field."""

    name: str
    kinds: tuple[str, ...]
    """As in `MetadataFields`."""
    values: tuple[str | float | bool, ...] | None
    """Each once: numbers, then texts, in order; None where there are more than MOST_VALUES, or it is not known."""


@dataclass(frozen=True)
class MetadataFields:
    """Field ("source.site" inside objects) -> the kinds of value that documents have had there; None: unknown.

    Kinds: text, number, truth, null and object; those of a list's items stand for the list.
    """

    kinds: Mapping[str, frozenset[str]] | None

    @classmethod
    def read(cls, catalog: Catalog) -> MetadataFields:
        """Those of the last commit."""
        with catalog.reading():
            saved = catalog.state(_STATE)
            if saved is None:  # nothing was added yet, or by a version that kept none
                return cls(None if catalog.settings()["next_passage"] else {})
        known = json.loads(saved)
        return cls(None if known is None else {field: frozenset(kinds) for field, kinds in known.items()})

    def listed(self, catalog: Catalog) -> list[Field]:
        """Those that can be filtered on, with their values."""
        few = catalog.n_documents() <= MOST_LISTED
        return [
            Field(name, tuple(sorted(kinds)), _values(catalog, name) if few else None)
            for name, kinds in sorted((self.kinds or {}).items())
            if kinds != {"object"}
        ]

    def after(self, metadata: Iterable[Mapping[str, Any]]) -> MetadataFields:
        """With those of more documents."""
        if self.kinds is None:
            return self
        known = dict(self.kinds)
        for one in metadata:
            for field, kinds in _fields(one, ""):
                if not kinds <= known.get(field, frozenset()) or field not in known:
                    known[field] = known.get(field, frozenset()) | kinds
        return MetadataFields(known if len(known) <= MOST_FIELDS else None)

    def store(self, transaction: Transaction) -> None:
        """Write them, in the transaction that stores the documents."""
        known = None if self.kinds is None else {field: sorted(kinds) for field, kinds in sorted(self.kinds.items())}
        transaction.set_state(_STATE, json.dumps(known, ensure_ascii=False))

    def check(self, where: Where) -> None:
        """Raises InputError for a field that no document has, or a value of a kind that it never holds."""
        for field, operator, value in every_test(where) if self.kinds is not None else ():
            kinds = (self.kinds or {}).get(field)
            if kinds is None:
                raise InputError(f"where: no document has the field {field!r}; {self._known()}")
            if operator in _OF_ANY_KIND:
                continue
            values = list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
            asked = {_kind(one) for one in values}
            if values and not asked & kinds:
                held = " or ".join(sorted(kinds)) or "empty lists"
                hint = f"; name one of its members, as in '{field}.NAME'" if kinds == {"object"} else ""
                raise InputError(
                    f"where: {field} holds {held}, never {' or '.join(sorted(asked))} such as {values[0]!r}{hint}"
                )

    def _known(self) -> str:
        names = sorted(self.kinds or ())
        if not names:
            return "they have no metadata"
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return f"known are {', '.join(names[:_NAMED])}{more}"


def _values(catalog: Catalog, field: str) -> tuple[str | float | bool, ...] | None:
    found = catalog.values(json_path(field), MOST_VALUES + 1)
    if len(found) > MOST_VALUES:
        return None
    values = [bool(value) if kind in ("true", "false") else value for kind, value in found]
    return tuple(sorted(values, key=lambda value: (isinstance(value, str), isinstance(value, bool), value)))


def _fields(metadata: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Every field that a filter can name, with the kinds of its value."""
    for name, value in metadata.items():
        if isinstance(name, str) and name and "." not in name and '"' not in name:
            items = value if isinstance(value, (list, tuple)) else [value]
            yield prefix + name, frozenset(map(_kind, items))
            if isinstance(value, Mapping):
                yield from _fields(value, f"{prefix}{name}.")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, (int, float)):
        return "number"
    return "text" if isinstance(value, str) else "object"
