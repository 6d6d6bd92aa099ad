"""Mining with miners whose answers are given: what becomes a negative, and going on after a stop."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.training.mining.conftest import QUERIES, GivenMiner, rows_of

from saelex.errors import InputError
from saelex.training.mining.false_negatives import FalseNegativeFilter
from saelex.training.mining.known import KnownScores
from saelex.training.mining.mine import Mining, MiningSettings
from saelex.training.mining.sources import MiningCollection
from saelex.training.mining.table import schema, write_tables

ALL = ["wing", "stall", "bank", "wing-copy", "river", "zip", "tar"]
ANSWERS = {"lift": ALL, "archive": ALL, "flood": ["river", "bank"], "loan": []}


def settings(depth: int = 7, keep: int = 2, **others: int) -> MiningSettings:
    return MiningSettings(depth, keep, **others)


def mine(collection: MiningCollection, output: Path, *miners: GivenMiner, **options: Any) -> list[tuple[Any, ...]]:
    Mining(collection, [miner.miner() for miner in miners], options.pop("settings", settings()), **options).run(output)
    return rows_of(output)


def test_relevant_rows_then_negatives_by_rank(collection: MiningCollection, tmp_path: Path) -> None:
    found = mine(collection, tmp_path / "a.parquet", GivenMiner("given", ANSWERS))
    assert found == [
        ("lift", "wing", True, None, "qrels", None),
        ("lift", "stall", False, 2, "given", None),
        ("lift", "bank", False, 3, "given", None),  # grade 0, or not judged: a negative
        ("archive", "zip", True, None, "qrels", None),
        ("archive", "tar", True, None, "qrels", None),
        ("archive", "wing", False, 1, "given", None),
        ("archive", "stall", False, 2, "given", None),
        ("flood", "river", True, None, "qrels", None),  # its other relevant document has no text
        ("flood", "bank", False, 2, "given", None),
        ("loan", "bank", True, None, "qrels", None),
    ]


def test_the_text_of_an_answer_is_no_negative_under_another_id(collection: MiningCollection, tmp_path: Path) -> None:
    found = mine(collection, tmp_path / "a.parquet", GivenMiner("given", ANSWERS), settings=settings(keep=7))
    assert [row[1] for row in found if row[0] == "lift"] == ["wing", "stall", "bank", "river", "zip", "tar"]
    assert "wing-copy" in [row[1] for row in found if row[0] == "archive"]


def test_ranks_skipped_at_the_top_count_relevant_documents(collection: MiningCollection, tmp_path: Path) -> None:
    found = mine(collection, tmp_path / "a.parquet", GivenMiner("given", ANSWERS), settings=settings(skip_top=2))
    assert [(row[1], row[3]) for row in found if row[0] == "lift" and not row[2]] == [("bank", 3), ("river", 5)]


def test_a_miner_after_the_other(collection: MiningCollection, tmp_path: Path) -> None:
    other = GivenMiner("other", {"lift": ["tar", "stall"], "loan": ["river"]})
    found = mine(collection, tmp_path / "a.parquet", GivenMiner("given", ANSWERS), other)
    assert [row[1:5] for row in found if row[0] == "lift" and not row[2]] == [
        ("stall", False, 2, "given"),
        ("bank", False, 3, "given"),
        ("tar", False, 1, "other"),
        ("stall", False, 2, "other"),
    ]
    assert [row[1:5] for row in found if row[0] == "loan" and not row[2]] == [("river", False, 1, "other")]


def test_random_negatives_come_from_deeper_ranks_and_do_not_change(
    collection: MiningCollection, tmp_path: Path
) -> None:
    def ranks(name: str, seed: int) -> dict[str, list[int]]:
        chosen = settings(keep=1, random=2, seed=seed)
        found = mine(collection, tmp_path / name, GivenMiner("given", ANSWERS), settings=chosen)
        return {query: [row[3] for row in found if row[0] == query and not row[2]] for query in ("lift", "archive")}

    first = ranks("a.parquet", 0)
    assert [of[0] for of in first.values()] == [2, 1]
    assert all(len(set(of)) == 3 and of == sorted(of) for of in first.values())
    assert ranks("b.parquet", 0) == first
    draws = {tuple(ranks(f"{seed}.parquet", seed)["lift"]) for seed in range(1, 9)}
    assert len(draws) > 1 and {rank for draw in draws for rank in draw} <= {2, 3, 5, 6, 7}


# ---- scores of an earlier run ---------------------------------------------------------------------------------------


def scored(path: Path, collection: MiningCollection, scores: dict[tuple[str, str], float]) -> KnownScores:
    rows = [(*pair, pair[1] in collection.relevant[pair[0]], None, "given", score) for pair, score in scores.items()]
    names = schema().names
    table = pa.table(dict(zip(names, map(list, zip(*rows)))), schema=schema())
    write_tables(path, schema(facts={"collection": collection.facts}), [table])
    return KnownScores.read(path)


def test_false_negatives_make_room_and_known_scores_are_kept(collection: MiningCollection, tmp_path: Path) -> None:
    scores = {("lift", "wing"): 0.5, ("lift", "stall"): 0.49, ("lift", "bank"): 0.25, ("archive", "wing"): 9.0}
    known = scored(tmp_path / "scores.parquet", collection, scores)
    found = mine(
        collection,
        tmp_path / "a.parquet",
        GivenMiner("given", ANSWERS),
        known=known,
        filter=FalseNegativeFilter(share=0.95),
    )
    assert [row[1:] for row in found if row[0] == "lift"] == [
        ("wing", True, None, "qrels", 0.5),
        ("bank", False, 3, "given", 0.25),
        ("river", False, 5, "given", None),
    ]
    # a query of which no positive was scored loses nothing
    assert ("archive", "wing", False, 1, "given", 9.0) in found


def test_scores_that_do_not_fit(collection: MiningCollection, tmp_path: Path) -> None:
    miner = GivenMiner("given", ANSWERS).miner()
    with pytest.raises(InputError, match="name them by --from"):
        Mining(collection, [miner], filter=FalseNegativeFilter(margin=1.0))
    other = replace(collection, facts={"corpus_sha256": "0"})
    known = scored(tmp_path / "scores.parquet", other, {("lift", "wing"): 1.0})
    with pytest.raises(InputError, match="scores for another corpus than that of notes"):
        Mining(collection, [miner], known=known)
    mine(collection, tmp_path / "a.parquet", GivenMiner("given", ANSWERS))
    with pytest.raises(InputError, match="has no scores; give it some with `saelex score`"):
        KnownScores.read(tmp_path / "a.parquet")


# ---- stopping and going on ------------------------------------------------------------------------------------------


def test_a_stopped_run_goes_on_and_gives_the_same_file(
    collection: MiningCollection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saelex.training.mining.mine.PART", 2)
    whole, output = tmp_path / "whole.parquet", tmp_path / "stopped.parquet"
    first = GivenMiner("given", ANSWERS), GivenMiner("other", {"lift": ["tar"]})
    mine(collection, whole, *first)
    with pytest.raises(KeyboardInterrupt):
        mine(collection, output, GivenMiner("given", ANSWERS), GivenMiner("other", {"lift": ["tar"]}, fail_at="loan"))
    assert not output.exists() and (tmp_path / "stopped.parquet.parts").is_dir()
    second = GivenMiner("given", ANSWERS), GivenMiner("other", {"lift": ["tar"]})
    mine(collection, output, *second)
    assert second[0].asked == []
    assert second[1].asked == [QUERIES["flood"], QUERIES["loan"]]  # the part that was not finished, from its start
    assert output.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "stopped.parquet.parts").exists()

    third = GivenMiner("given", ANSWERS), GivenMiner("other", {"lift": ["tar"]})
    mine(collection, output, *third)  # it is done
    assert third[0].asked == third[1].asked == []


def test_other_settings_in_the_same_place_are_refused(collection: MiningCollection, tmp_path: Path) -> None:
    output = tmp_path / "a.parquet"
    with pytest.raises(KeyboardInterrupt):
        mine(collection, output, GivenMiner("given", ANSWERS, fail_at="flood"))
    with pytest.raises(InputError, match=r"a\.parquet\.parts: holds parts of .* \(depth 7, now 6\); give the same"):
        mine(collection, output, GivenMiner("given", ANSWERS), settings=settings(depth=6))
    mine(collection, output, GivenMiner("given", ANSWERS))
    before = output.read_bytes()
    with pytest.raises(InputError, match=r"exists already, made with other settings \(keep 2, now 3\); choose another"):
        mine(collection, output, GivenMiner("given", ANSWERS), settings=settings(keep=3))
    with pytest.raises(InputError, match="made with other settings"):
        Mining(collection, [GivenMiner("given", ANSWERS).miner(index="another")], settings()).run(output)
    assert output.read_bytes() == before


def test_metadata_says_where_the_rows_are_from(collection: MiningCollection, tmp_path: Path) -> None:
    mine(collection, tmp_path / "a.parquet", GivenMiner("given", ANSWERS))
    read = pq.read_schema(tmp_path / "a.parquet")
    assert read.metadata[b"format"] == b"saelex-examples/1"
    facts = json.loads(read.metadata[b"saelex"])
    assert (facts["command"], facts["depth"], facts["keep"]) == ("mine", 7, 2)
    assert (facts["collection"]["name"], facts["collection"]["split"]) == ("notes", "train")
    assert len(facts["collection"]["corpus_sha256"]) == len(facts["collection"]["queries_sha256"]) == 64
    assert [str(field.type) for field in read] == ["string", "string", "bool", "int32", "string", "float"]


def test_what_cannot_be_mined(collection: MiningCollection, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="stranger finds the document 'x', which notes does not have"):
        mine(collection, tmp_path / "a.parquet", GivenMiner("stranger", {"lift": ["x"]}))
    with pytest.raises(InputError, match="look deeper"):
        MiningSettings(depth=5, keep=4, skip_top=2)
    with pytest.raises(InputError, match="--keep or --random above 0"):
        MiningSettings(keep=0)
    with pytest.raises(InputError, match="different names"):
        Mining(collection, [GivenMiner("a", {}).miner(), GivenMiner("a", {}).miner()])
    with pytest.raises(InputError, match="different names, none of them 'qrels'"):
        Mining(collection, [GivenMiner("qrels", {}).miner()])
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(InputError, match="not a Parquet file"):
        mine(collection, tmp_path / "text.parquet", GivenMiner("given", ANSWERS))
