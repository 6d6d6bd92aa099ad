"""JSON objects with typed values: each wrong one is an error that names file and field."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from saelex.errors import InputError
from saelex.reading.json_object import (
    JsonObject,
    parse_json,
    read_json,
    read_json_lines,
    read_json_objects,
    settings_from,
)

VALUES = JsonObject(
    {
        "text": "a", "whole": 3, "round": 4.0, "number": 2.5, "flag": False, "none": None, "huge": 10**400,
        "object": {"inner": "x"}, "objects": [{"a": 1}], "texts": ["a"], "wholes": [1, 2],
    },
    "some.json",
)  # fmt: skip


def test_values_by_their_types() -> None:
    assert VALUES.text("text") == "a" and VALUES.text_or("none", 5) == 5 and VALUES.text_or("missing", None) is None
    assert VALUES.whole("whole") == 3 and VALUES.whole("round") == 4 and VALUES.whole_or("none", 7) == 7
    assert VALUES.number("number") == 2.5 and VALUES.number("whole") == 3.0 and VALUES.number_or("none", None) is None
    assert VALUES.flag_or("flag", True) is False and VALUES.flag_or("none", True) is True
    assert VALUES.object("object").text("inner") == "x" and VALUES.object_or_none("none") is None
    assert VALUES.objects("objects")[0].whole("a") == 1
    assert VALUES.texts("texts") == ["a"] and VALUES.wholes("wholes") == [1, 2]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("text", "whole"), ("text", "none"), ("text", "missing"), ("text", "object"), ("whole", "number"),
        ("whole", "flag"), ("whole", "text"), ("whole", "huge"), ("number", "text"), ("number", "flag"),
        ("number", "huge"), ("object", "objects"), ("objects", "object"), ("objects", "texts"),
        ("texts", "text"), ("texts", "wholes"), ("wholes", "texts"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_names_file_and_field(kind: str, name: str) -> None:
    with pytest.raises(InputError, match=rf"^some\.json: .*{name}") as error:
        getattr(VALUES, kind)(name)
    assert len(str(error.value)) < 200


def test_an_inner_field_is_named_with_those_around_it() -> None:
    with pytest.raises(InputError, match=r"object\.inner is 'x', not a whole number from 0 up"):
        VALUES.object("object").whole("inner")
    with pytest.raises(InputError, match=r"objects\[0\]\.a is 1, not a string"):
        VALUES.objects("objects")[0].text("a")
    with pytest.raises(InputError, match="whole is 3, not a whole number from 4 up"):
        VALUES.whole("whole", least=4)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", '{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}', '{"a": 1, "a": 2}', '{"a": "\\ud800"}',
        '{"\\ud800": 1}', "[" * 65 + "]" * 65, "[" * 100_000, "9" * 5000, '{"a": 1} x', "\ud800",
    ],
)  # fmt: skip
def test_what_is_no_json_for_settings(text: str) -> None:
    with pytest.raises(InputError, match=r"^where: not readable JSON") as error:
        parse_json(text.encode("utf-8", "surrogatepass"), "where")
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_what_is_json_for_settings() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": [1, 2.5, "\\u00e9", null, true]}', "x") == {"a": [1, 2.5, "é", None, True]}
    assert parse_json("[" * 64 + "]" * 64, "x")


def test_files_of_an_object_of_a_list_and_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_text('{"a": 1}\n\n{"a": 2}\n')
    assert [line.whole("a") for line in read_json_lines(path)] == [1, 2]
    with pytest.raises(InputError, match=r"f\.json: not readable JSON"):
        read_json(path)
    path.write_text('{"a": 1}\n7\n')
    with pytest.raises(InputError, match=r"f\.json:2: line is 7, not an object"):
        read_json_lines(path)
    path.write_text('[{"a": 1}]')
    assert read_json_objects(path)[0].whole("a") == 1
    with pytest.raises(InputError, match=r"f\.json: not a JSON object"):
        read_json(path)
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "none.json")
    with pytest.raises(InputError, match="not a regular file"):
        read_json(tmp_path)


@dataclass
class Settings:
    kind: Literal["a", "b"]
    size: int = 1
    share: float | None = None
    on: bool = False


def test_a_dataclass_of_an_object() -> None:
    assert settings_from(Settings, JsonObject({"kind": "b", "share": 1}, "f")) == Settings("b", share=1)
    for values, message in (
        ({}, "lacks the setting 'kind'"),
        ({"kind": "c"}, "kind is 'c'"),
        ({"kind": ["a"]}, "kind is list of 1"),
        ({"kind": "a", "size": 1.5}, "size is 1.5, not of the type int"),
        ({"kind": "a", "size": True}, "size is True"),
        ({"kind": "a", "size": None}, "size is None"),
        ({"kind": "a", "share": float("nan")}, "share is nan"),
        ({"kind": "a", "on": 1}, "on is 1, not of the type bool"),
        ({"kind": "a", "more": 1}, "unknown setting 'more'"),
    ):
        with pytest.raises(InputError, match=message):
            settings_from(Settings, JsonObject(values, "f"))
