from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from saelex.concepts.concept import Concept, Evidence, Example, Published
from saelex.concepts.label_file import add_published, keep_given_labels, read_labels, write_labels
from saelex.errors import InputError, MismatchError

WING = Concept(
    3,
    "wing · lift",
    (Evidence("wing", 5.5), Evidence("lift", 4.25)),
    (Example("d1", "a wing", "wing", 1.5),),
    0.25,
    1.0,
)
SHOWN = Published("aircraft wings", "gpt-4o-mini", "gemma-2-2b/16-gemmascope-res-65k")
ALONE = Concept(5, SHOWN.text, (), (), 0.0, 0.0, "published", published=SHOWN)
OWN = Concept(9, "Möwe, «gull»", (), (), 0.0, 0.0, "user")


def read(path: Path, known: list[Concept]) -> list[Concept]:
    return list(read_labels(path, known, fingerprint="f", n_latents=10))


def test_written_labels_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl.gz"
    assert write_labels(path, [WING, OWN], fingerprint="f") == 2
    assert read(path, []) == [WING, OWN]
    assert read(path, [WING, OWN]) == [WING, OWN]


def write_lines(path: Path, *records: dict[str, Any]) -> Path:
    lines = [{"format": "saelex-labels/1", "fingerprint": "f"}, *records]
    path.write_text("".join(json.dumps(record) + "\n" for record in lines))
    return path


def test_a_users_line_changes_the_label_and_keeps_the_rest(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "own.jsonl", {"latent": 3, "label": " aeroplanes "}, {"latent": 7, "label": "boat"})
    assert read(path, [WING, OWN]) == [
        replace(WING, label="aeroplanes", source="user"),
        Concept(7, "boat", (), (), 0.0, 0.0, "user"),
        OWN,
    ]


def test_an_edited_export_is_its_users_and_an_untouched_line_is_not(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    other = replace(WING, latent=4)
    write_labels(path, [WING, other], fingerprint="f")
    path.write_text(path.read_text().replace("wing · lift", "flight", 1))
    assert read(path, [WING, other]) == [replace(WING, label="flight", source="user"), other]


def test_users_labels_stay_when_labels_are_derived_again() -> None:
    named = replace(WING, label="flight", source="user")
    derived = [replace(WING, density=0.5), replace(WING, latent=4)]
    assert list(keep_given_labels(derived, {3: named, 9: OWN})) == [
        replace(WING, label="flight", density=0.5, source="user"),
        derived[1],
        OWN,
    ]


def test_what_is_published_stands_beside_the_label_and_a_users_label_wins() -> None:
    other = SHOWN._replace(text="birds")
    given = list(add_published([WING, OWN], {3: SHOWN, 9: other, 5: SHOWN}))
    assert given == [replace(WING, published=SHOWN), ALONE, replace(OWN, published=other)]
    assert [concept.shown for concept in given] == ["aircraft wings", "aircraft wings", "Möwe, «gull»"]
    assert list(add_published(given, {5: other}))[1] == replace(ALONE, label="birds", published=other)


def test_what_is_published_stays_when_labels_are_derived_again() -> None:
    known = [replace(WING, published=SHOWN), replace(WING, latent=4, published=SHOWN), ALONE]
    derived = [replace(WING, label="flight"), replace(WING, latent=5)]
    assert list(keep_given_labels(derived, {concept.latent: concept for concept in known})) == [
        replace(WING, label="flight", published=SHOWN),
        replace(WING, latent=5, published=SHOWN),
        replace(ALONE, latent=4),
    ]


def test_what_is_published_goes_out_and_comes_back(tmp_path: Path) -> None:
    path, known = tmp_path / "labels.jsonl", [replace(WING, published=SHOWN), ALONE, replace(OWN, published=SHOWN)]
    write_labels(path, known, fingerprint="f")
    assert read(path, []) == read(path, known) == known
    path.write_text(path.read_text().replace('"label": "aircraft wings"', '"label": "gliders"'))
    assert read(path, known)[1] == replace(ALONE, label="gliders", source="user")
    assert read(path, known)[1].shown == "gliders"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"label": "x"}, "'latent' is an integer from 0 to 9, not None"),
        ({"latent": 10, "label": "x"}, "not 10"),
        ({"latent": True, "label": "x"}, "not True"),
        ({"latent": 1}, "'label' is one line"),
        ({"latent": 1, "label": " "}, "'label' is one line"),
        ({"latent": 1, "label": "two\nlines"}, "'label' is one line"),
        ({"latent": 1, "label": "\x1b[31mred"}, "'label' is one line"),
        ({"latent": 1, "label": "a\u202eb"}, "'label' is one line"),
        ({"latent": 1, "label": "word:wing"}, "begins with word: would read as an exact word"),
        ({"latent": 1, "label": "x", "lable": "y"}, "unknown field 'lable'"),
        ({"latent": 1, "label": "x", "labels": ["y"]}, "'labels' is an object of languages and labels"),
        ({"latent": 1, "label": "x", "labels": {"xx": "y"}}, "labels: unknown language 'xx'; choose one of ar, "),
        ({"latent": 1, "label": "x", "labels": {"de": ""}}, "'label' is one line"),
        ({"latent": 1, "label": "x", "density": "much"}, "'density' is a finite number"),
        ({"latent": 1, "label": "x", "density": 10**400}, "'density' is a finite number"),
        ({"latent": 1, "label": "x", "source": "me"}, "'source' is one of derived, published, user, not 'me'"),
        ({"latent": 1, "label": "x", "source": []}, "'source' is one of"),
        ({"latent": 1, "label": "x", "published": "y"}, "'published' is an object with text, author, source"),
        ({"latent": 1, "label": "x", "published": {**SHOWN._asdict(), "text": "a\nb"}}, "'label' is one line"),
        ({"latent": 1, "label": "x", "published": {**SHOWN._asdict(), "author": 4}}, "'label' is one line"),
        (
            {"latent": 1, "label": "x", "published": {**SHOWN._asdict(), "source": "../.."}},
            "Neuronpedia's model/source",
        ),
        ({"latent": 1, "label": "x", "evidence": [["wing", 1]]}, "'evidence' is a list of objects with word, strength"),
        ({"latent": 1, "label": "x", "examples": [{"word": "wing"}]}, "'examples' is a list of objects"),
        ({"latent": 1, "label": "x", "evidence": [{"word": 1, "strength": 2}]}, "'word' is a string"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, record: dict[str, Any], message: str) -> None:
    path = write_lines(tmp_path / "own.jsonl", {"latent": 2, "label": "fine"}, record)
    with pytest.raises(InputError, match=f"own.jsonl:3: .*{message}"):
        read(path, [])


def test_a_latent_twice_and_what_is_no_file_of_labels(tmp_path: Path) -> None:
    twice = write_lines(tmp_path / "twice.jsonl", {"latent": 2, "label": "a"}, {"latent": 2, "label": "b"})
    with pytest.raises(InputError, match=r"twice\.jsonl:3: latent 2 comes twice"):
        read(twice, [])
    (tmp_path / "other.jsonl").write_text('{"latent": 2, "label": "a"}\n')
    with pytest.raises(InputError, match="not a file of labels"):
        read(tmp_path / "other.jsonl", [])
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match="not a file of labels"):
        read(tmp_path / "empty.jsonl", [])
    with pytest.raises(MismatchError, match="of another encoder"):
        list(read_labels(twice, [], fingerprint="g", n_latents=10))


SPOKEN = replace(WING, labels={"de": "Flügel", "zh": "机翼"})


def test_labels_in_languages_go_out_and_come_back(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    write_labels(path, [SPOKEN, OWN], fingerprint="f")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[1]["labels"] == {"de": "Flügel", "zh": "机翼"} and "labels" not in lines[2]
    assert read(path, []) == read(path, [SPOKEN]) == [SPOKEN, OWN]


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ({"label": "flight"}, {"label": "flight", "labels": {}, "source": "user"}),
        ({"label": "wing · lift", "source": "derived"}, {}),
        (
            {"label": "wing · lift", "source": "derived", "labels": {"de": " Tragfläche "}},
            {"labels": {"de": "Tragfläche"}, "source": "user"},
        ),
        (
            {"label": "flight", "labels": {"de": "Flug"}},
            {"label": "flight", "labels": {"de": "Flug"}, "source": "user"},
        ),
    ],
)
def test_a_users_label_stands_in_all_languages_but_those_it_names(
    tmp_path: Path, line: dict[str, Any], changed: dict[str, Any]
) -> None:
    path = write_lines(tmp_path / "own.jsonl", {"latent": 3, **line})
    named = replace(SPOKEN, **changed)
    assert read(path, [SPOKEN]) == [named]
    if named.source == "user":
        assert list(keep_given_labels([replace(SPOKEN, density=0.5)], {3: named})) == [replace(named, density=0.5)]
