"""How much of a vector is kept: its k largest weights, and more of a vector whose weight is spread over many.

Written the same everywhere: in Python, in recipes and model folders, and on a command line.
"""

from __future__ import annotations

import re
from numbers import Integral
from typing import NamedTuple, TypeAlias

from saelex.errors import InputError

TopKSetting: TypeAlias = int | str | None
"""Entries kept of a vector: a number; "40+80%": 40, and more until they carry 80 % of its weight; None: all."""

_MOST = 2**31 - 1
_SHARED = re.compile(r"([0-9]{1,10})\+([0-9]{1,2}(?:\.[0-9]{1,6})?)%")


class Cut(NamedTuple):
    """A vector's `least` largest weights, and the next ones until all kept carry `share` (0 to 1) of their sum."""

    least: int
    share: float = 0.0

    @classmethod
    def read(cls, top_k: object, name: str = "top-k", others: str = "None for all") -> Cut:
        """Raises InputError for other forms. name, others: for its message, what is read and may stand there beside."""
        if isinstance(top_k, str) and (shared := _SHARED.fullmatch(top_k)) and float(shared[2]):
            least, share = int(shared[1]), float(shared[2]) / 100
        elif not isinstance(top_k, bool) and isinstance(top_k, Integral):  # numpy's integers too
            least, share = int(top_k), 0.0
        else:
            least, share = 0, 0.0
        if not 0 < least <= _MOST:
            forms = "a number from 1, or one with a share of the vector's weight, as in 40+80%"
            raise InputError(f"{name} is {forms}, or {others}, not {top_k!r}")
        return cls(least, share)


def shown(top_k: TopKSetting) -> str:
    """As people read it: "40", "40+80%", "all"."""
    return "all" if top_k is None else str(top_k)
