from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.engines.files.sample import Sample

from saelex.corpus.documents import Document
from saelex.engines import files
from saelex.engines.files.format import Vector, Written, formats, make_format, write_documents
from saelex.engines.files.milvus import Milvus
from saelex.engines.files.qdrant import Qdrant
from saelex.errors import InputError

EMPTY = Vector(np.zeros(0, np.int32), np.zeros(0, np.float32))


def test_weights_print_short_and_come_back_as_the_same_float32() -> None:
    weights = np.random.default_rng(0).random(500).astype(np.float32) * 10
    vector = Vector(np.arange(500, dtype=np.int32), weights)
    assert all(len(repr(number)) <= 13 for number in vector.numbers())
    np.testing.assert_array_equal(np.array(vector.numbers(), np.float32), weights)


def test_empty_vectors_are_left_out_and_counted(tmp_path: Path, sample: Sample) -> None:
    entries = [*sample.documents, (Document("empty", ""), EMPTY)]
    path = tmp_path / "points.jsonl"
    assert write_documents(path, Qdrant(), entries, sample.summary) == Written(40, 1)
    assert len(path.read_text().splitlines()) == 40


def test_a_failing_export_leaves_the_old_file_and_nothing_else(tmp_path: Path, sample: Sample) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("old\n")
    too_long = (Document("long", "x" * 70_000), sample.documents[0][1])
    with pytest.raises(InputError, match="the text of document 'long' has 70000 bytes; Milvus takes at most 65535"):
        write_documents(path, Milvus(), [*sample.documents, too_long], sample.summary)
    assert path.read_text() == "old\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_module_adds_its_formats_by_being_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_engine.py").write_text(
        "from dataclasses import dataclass\n"
        "from saelex.engines.files.qdrant import Qdrant\n"
        "@dataclass(frozen=True)\n"
        "class Toy(Qdrant):\n"
        "    name = 'toy'\n"
        "    shards: int = 1\n"
        "FORMATS = (Toy,)\n"
    )
    before = list(formats())
    monkeypatch.setattr(files, "__path__", [*files.__path__, str(tmp_path)])
    assert sorted(formats()) == sorted([*before, "toy"])
    assert make_format("toy", ["shards=3"]).shards == 3  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="unknown setting 'shard'; did you mean 'shards'"):
        make_format("toy", ["shard=3"])
    with pytest.raises(InputError, match="setting 'shards' is of type int, not 'many'"):
        make_format("toy", ["shards=many"])
    with pytest.raises(InputError, match="unknown format 'vespa'; choose one of anserini, milvus"):
        make_format("vespa")
