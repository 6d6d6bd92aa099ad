"""The metadata fields of an index, with what documents have there."""

from __future__ import annotations

from pathlib import Path

from tests.index.fakes import FakeEncoder

from saelex.index import fields
from saelex.index.fields import Field
from saelex.index.index import Index


def test_fields_have_kinds_and_the_values_of_the_documents_that_are_there(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        assert index.fields() == []
        index.add(
            [
                {"id": "a", "text": "a wing", "lang": "de", "year": 1990, "source": {"site": "x"}, "tags": ["b", "a"]},
                {"id": "b", "text": "a zip", "lang": "en", "year": 2.5, "good": True, "tags": [], "gone": None},
                {"id": "c", "text": "a river", "lang": "fr", "year": "old", "good": False},
            ]
        )
        index.delete(["c"])
        assert index.fields() == [
            Field("gone", ("null",), ()),
            Field("good", ("truth",), (True,)),
            Field("lang", ("text",), ("de", "en")),
            Field("source.site", ("text",), ("x",)),
            Field("tags", ("text",), ("a", "b")),
            Field("year", ("number", "text"), (2.5, 1990)),
        ]


def test_many_values_are_not_listed(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        index.add({"id": i, "text": "a wing", "n": i, "m": i % fields.MOST_VALUES} for i in range(60))
        assert index.fields() == [
            Field("m", ("number",), tuple(range(fields.MOST_VALUES))),
            Field("n", ("number",), None),
        ]
