"""What documents have in the metadata fields of an index."""

from __future__ import annotations

from pathlib import Path

from tests.index.fakes import FakeEncoder

from saelex.index import fields
from saelex.index.index import Index


def test_values_are_those_of_the_documents_that_are_there(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        assert index.field_values("lang") == ()
        index.add(
            [
                {"id": "a", "text": "a wing", "lang": "de", "year": 1990, "source": {"site": "x"}, "tags": ["b", "a"]},
                {"id": "b", "text": "a zip", "lang": "en", "year": 2.5, "good": True, "tags": [], "gone": None},
                {"id": "c", "text": "a river", "lang": "fr", "year": "old", "good": False},
            ]
        )
        index.delete(["c"])
        expected = {
            "gone": (), "good": (True,), "lang": ("de", "en"), "source.site": ("x",), "tags": ("a", "b"),
            "year": (2.5, 1990), "source": (), "nowhere": (),
        }  # fmt: skip
        assert {name: index.field_values(name) for name in expected} == expected


def test_many_values_are_not_listed(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        index.add({"id": i, "text": "a wing", "n": i, "m": i % fields.MOST_VALUES} for i in range(60))
        assert index.field_values("m") == tuple(range(fields.MOST_VALUES)) and index.field_values("n") is None
