"""Points as Qdrant's client and its embedded engine have them, and filters in the classes of either: they are alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from saelex.engines.entry import Entry
from saelex.engines.facets import Test, only_numbers
from saelex.engines.files.format import Vector
from saelex.engines.files.qdrant import VECTOR_NAME


def conditions(tests: Sequence[Test], condition: Callable[..., Any], match: Callable[..., Any], range_: Any) -> Any:
    """What must hold and what must not, for a filter."""
    only_numbers(tests, "Qdrant")
    names = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
    must = [condition(key="tags", match=match(any=test.value)) for test in tests if test.operator == "any"]
    must += [
        condition(key=f'numbers."{test.field}"', range=range_(**{names[test.operator]: float(test.value)}))
        for test in tests
        if test.operator in names
    ]
    return must, [condition(key="tags", match=match(any=test.value)) for test in tests if test.operator == "none"]


def payload_of(entry: Entry) -> dict[str, Any]:
    """What a point holds beside its vector: the id that its UUID stands for, the document, what it is filtered by."""
    return {"id": entry.id, **entry.fields(), **entry.facets._asdict()}


def entry_of(point: Any) -> Entry:
    """From what was retrieved or found."""
    vector = (getattr(point, "vector", None) or {}).get(VECTOR_NAME)
    held = Vector.of(vector.indices, vector.values) if vector is not None else Vector.of([], [])
    return Entry.of(point.payload.get("id", str(point.id)), point.payload, held)
