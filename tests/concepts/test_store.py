from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from saelex.concepts.concept import Concept, Evidence, Example, Published
from saelex.concepts.store import ConceptStore
from saelex.errors import CorruptIndexError, InputError, MismatchError, SaelexError

CONCEPTS = [
    Concept(
        4,
        "wing · airfoil · aerodynamic",
        (Evidence("wing", 3.5), Evidence("leading edge", 2.0)),
        (Example("d1", "… the wing of …", "wing", 4.25),),
        0.125,
        1.5,
    ),
    Concept(9, "bird · wing", (Evidence("bird", 5.0), Evidence("feather", 4.0)), (), 0.01, 0.5),
    Concept(11, "wing", (Evidence("wing", 1.0),), (), 0.5, 0.75),
    Concept(20, "zip archive · file", (Evidence("zip", 4.0),), (), 0.02, 2.0),
    Concept(21, "zip code", (Evidence("zip", 4.0), Evidence('quo"te', 1.0)), (), 0.02, 2.0),
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConceptStore]:
    with ConceptStore.write(tmp_path / "concepts.sqlite", CONCEPTS, fingerprint="abc") as written:
        yield written


def test_what_was_written_is_read(store: ConceptStore, tmp_path: Path) -> None:
    assert list(store) == CONCEPTS
    assert len(store) == 5
    assert store[4] == CONCEPTS[0]
    assert (store.label(9), store.label(10)) == ("bird · wing", "latent 10")
    assert store.examples(4) == CONCEPTS[0].examples
    assert store.examples(10) == ()
    with pytest.raises(KeyError):
        store[10]
    assert [path.name for path in tmp_path.iterdir()] == ["concepts.sqlite"]


def test_what_is_published_is_shown_unless_a_user_or_the_readers_language_has_another(tmp_path: Path) -> None:
    shown = Published("aircraft parts", "gpt-4o-mini", "gemma-2-2b/16-gemmascope-res-65k")
    concepts = [
        replace(CONCEPTS[0], published=shown, labels={"de": "Flügel", "en": "wing"}),
        replace(CONCEPTS[1], published=shown, source="user", labels={"en": "seagull"}),
        replace(CONCEPTS[2]),
    ]
    with ConceptStore.write(tmp_path / "c.sqlite", concepts, fingerprint="abc") as store:
        assert list(store) == [store[4], store[9], store[11]] == concepts
        assert store.given() == {4: concepts[0], 9: concepts[1]}
        assert [store.label(4, language) for language in (None, "de", "en", "fr")] == [
            "aircraft parts",
            "Flügel",
            "aircraft parts",
            "aircraft parts",
        ]
        assert [store.label(9, language) for language in (None, "de", "en")] == [
            "bird · wing",
            "bird · wing",
            "seagull",
        ]
        assert store.label(11) == "wing"
        assert store.resolve("Aircraft Parts") == [4, 9] and sorted(store.resolve("parts")) == [4, 9]
        assert store.resolve("airfoil") == [4]


def test_find_ranks_labels_before_evidence(store: ConceptStore) -> None:
    assert store.find("feathers") == [9]
    assert store.find("wings")[0] == 11
    assert set(store.find("wings")) == {4, 9, 11}
    assert store.find('edge" OR (') == [4]
    assert store.find("?!") == []


def test_names_mean_the_label_then_its_first_word_then_any(store: ConceptStore) -> None:
    assert store.resolve("Bird · Wing") == [9]
    assert store.resolve("wing") == [11]
    assert store.resolve("bird") == [9]
    assert store.resolve("archive file") == [20]
    assert store.resolve("zip") == [21, 20] or store.resolve("zip") == [20, 21]


def test_names_that_mean_nothing_or_too_much(tmp_path: Path, store: ConceptStore) -> None:
    with pytest.raises(InputError, match=r"no concept is labelled 'feather'; nearest: #9 \(bird · wing\)"):
        store.resolve("feather")
    with pytest.raises(InputError, match=r"'brid'; nearest: #9"):
        store.resolve("brid")
    with pytest.raises(InputError, match="'qqqq'; see"):
        store.resolve("qqqq")
    many = [Concept(i, f"music · word{i}", (), (), 0.1, 1.0) for i in range(9)]
    with (
        ConceptStore.write(tmp_path / "many.sqlite", many, fingerprint="abc") as crowded,
        pytest.raises(
            InputError,
            match=r"'music' fits 9 concepts, .* name one by its id or whole label: #0 \(music · word0\), #1 .*, \.\.\.",
        ),
    ):
        crowded.resolve("music")


def test_another_encoders_labels_are_refused(tmp_path: Path, store: ConceptStore) -> None:
    path = tmp_path / "concepts.sqlite"
    with ConceptStore.open(path) as opened:
        assert opened.fingerprint == "abc"
    with pytest.raises(MismatchError, match="another encoder"):
        ConceptStore.open(path, fingerprint="xyz")


def test_a_failed_write_leaves_the_old_store(tmp_path: Path, store: ConceptStore) -> None:
    with pytest.raises(InputError, match="twice"):
        ConceptStore.write(tmp_path / "concepts.sqlite", [CONCEPTS[0], CONCEPTS[0]], fingerprint="new")
    with ConceptStore.open(tmp_path / "concepts.sqlite", fingerprint="abc") as opened:
        assert list(opened) == CONCEPTS
    assert [path.name for path in tmp_path.iterdir()] == ["concepts.sqlite"]


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SaelexError, match=r"none/concepts\.sqlite: cannot be written"):
        ConceptStore.write(tmp_path / "none" / "concepts.sqlite", CONCEPTS, fingerprint="abc")


def test_missing_foreign_and_future_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        ConceptStore.open(tmp_path / "none.sqlite")
    foreign = tmp_path / "foreign.sqlite"
    foreign.write_bytes(b"not a database" * 100)
    with pytest.raises(InputError, match="not a concept store"):
        ConceptStore.open(foreign)
    future = tmp_path / "future.sqlite"
    with contextlib.closing(sqlite3.connect(future)) as connection, connection:
        connection.execute("CREATE TABLE meta (key TEXT, value TEXT)")
        connection.execute("INSERT INTO meta VALUES ('schema_version', '99')")
    with pytest.raises(InputError, match="schema 99"):
        ConceptStore.open(future)


def test_a_closed_store_says_so(store: ConceptStore) -> None:
    store.close()
    with pytest.raises(SaelexError, match="the labels are closed; open the index and search again"):
        store.label(CONCEPTS[0].latent)


def test_a_damaged_store_is_an_error_to_the_last_bit(tmp_path: Path, store: ConceptStore) -> None:
    path = tmp_path / "concepts.sqlite"
    content = path.read_bytes()
    label = content.index(CONCEPTS[0].label.encode())
    for place in (label, len(content) - 1, 60, 63, 96):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(CorruptIndexError, match=r"damaged \(checksum\); make the labels again"):
            ConceptStore.open(path)
    path.write_bytes(content)
    with ConceptStore.open(path) as opened:
        assert list(opened) == CONCEPTS
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="a pipe or a device, not a regular file"):
        ConceptStore.open(path)


def test_names_in_any_case_and_of_labels_that_say_context(tmp_path: Path) -> None:
    given = [Concept(1, "Zürich", (), (), 0.1, 1.0, "user"), Concept(2, "gull (context)", (), (), 0.1, 1.0)]
    with ConceptStore.write(tmp_path / "c.sqlite", given, fingerprint="abc") as store:
        assert store.resolve("zÜRICH ") == [1]
        assert store.resolve("gull") == store.resolve("Gull (context)") == [2]
        assert store.given() == {1: given[0]}
        assert store.get(2) == given[1] and store.get(3) is None


WING = Concept(4, "wing · крыло", (), (), 0.1, 1.0, labels={"de": "Flügel · Auftrieb", "zh": "机翼"})
GULL = Concept(9, "gull", (), (), 0.1, 1.0, labels={"de": "Möwe"})


def test_labels_in_a_language_and_the_whole_corpuss_where_there_is_none(tmp_path: Path) -> None:
    with ConceptStore.write(tmp_path / "c.sqlite", [WING, GULL, CONCEPTS[2]], fingerprint="abc") as store:
        assert list(store) == [WING, GULL, CONCEPTS[2]] and store[4] == WING
        assert store.languages == ("de", "zh")
        assert [store.label(4, language) for language in ("de", "zh", "fr", None)] == [
            "Flügel · Auftrieb",
            "机翼",
            "wing · крыло",
            "wing · крыло",
        ]
        assert (store.label(9, "zh"), store.label(10, "de")) == ("gull", "latent 10")
        assert store.language_of("Wo brüten die Möwen an der Küste?") == "de"
        assert store.language_of("NATO UEFA FIFA") is None


def test_a_label_in_any_language_is_a_name(tmp_path: Path) -> None:
    with ConceptStore.write(tmp_path / "c.sqlite", [WING, GULL], fingerprint="abc") as store:
        assert store.resolve("möwe") == store.resolve("gull") == [9]
        assert store.resolve("flügel") == store.resolve("机翼") == store.resolve("auftrieb flügel") == [4]


def test_without_labels_in_languages_the_file_has_no_place_for_them(store: ConceptStore, tmp_path: Path) -> None:
    """It is that of versions that knew of none, and theirs is read."""
    with contextlib.closing(sqlite3.connect(tmp_path / "concepts.sqlite")) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {name for name in tables if not name.startswith("concept_text")} == {"meta", "concept"}
    assert store.languages == () and store.label(9, "de") == "bird · wing"
    assert store.language_of("Wo brüten die Möwen an der Küste?") is None


def test_labels_with_a_word_that_begins_as_somebody_types(store: ConceptStore) -> None:
    assert store.led_by("wi") == [11, 4, 9]  # what begins so first, then by how often it fires
    assert store.led_by(" ZIP  c") == [21] and store.led_by("archive · f") == [20]
    assert store.led_by("zip", limit=1) == [20]
    assert store.led_by("ing") == store.led_by(" ") == store.led_by("(") == []
