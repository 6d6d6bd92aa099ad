"""What goes into a file whose columns are separated by blanks."""

from __future__ import annotations

from saelex.errors import InputError


def column(value: str, what: str) -> str:
    """The value. Raises InputError where it is empty or holds blanks: a reader would see other columns."""
    if value.split() != [value]:
        raise InputError(f"{what} {value!r} is empty or holds blanks, which separate the columns of a TREC file")
    return value
