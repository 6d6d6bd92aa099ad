"""YAML as recipes are written in it."""

from __future__ import annotations

import pytest

from saelex.errors import InputError
from saelex.reading.yaml_file import parse_yaml


def test_plain_values_and_a_named_one_repeated() -> None:
    assert parse_yaml("a: &x {b: 1}\nc: {<<: *x, d: 2}\n", "f") == {"a": {"b": 1}, "c": {"b": 1, "d": 2}}


@pytest.mark.parametrize(
    "text",
    [
        "a: [", "a: &x [*x]", "a: &x [1]\nb: &y [*x, *x]\nc: &z [*y, *y]", "!!python/object/apply:os.getcwd []",
        "a: 2001-99-99", "[" * 5000, "? [a]\n: 1", "a: *nowhere", "a: \0", "9" * 5000, "a: !!int x", "!!omap [a]",
    ],
)  # fmt: skip
def test_anything_else_is_one_error(text: str) -> None:
    with pytest.raises(InputError, match=r"^f: ") as error:
        parse_yaml(text, "f")
    assert "\n" not in str(error.value)
