from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from saelex.errors import InputError
from saelex.top_k import Cut, shown


@pytest.mark.parametrize(
    ("top_k", "cut"),
    [
        (40, (40, 0)),
        (np.int64(7), (7, 0)),
        ("40+80%", (40, 0.8)),
        ("1+99.5%", (1, 0.995)),
        ("2147483647+1%", (2**31 - 1, 0.01)),
    ],
)
def test_what_is_written_is_what_is_kept(top_k: Any, cut: tuple[int, float]) -> None:
    assert Cut.read(top_k) == pytest.approx(cut)


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            0,
            -1,
            2**31,
            True,
            2.0,
            "",
            "40",
            "70%",
            "0+70%",
            "40+0%",
            "40+100%",
            "40+70",
            "40+.7%",
            " 40+80%",
            "40+80%\n",
        ),
        *("2147483648+7%", "٤٠+80%", "40-70%"),
    ],
)
def test_other_forms_are_an_error_of_one_line(wrong: Any) -> None:
    with pytest.raises(
        InputError, match=r"the setting is a number from 1, .* as in 40\+80%, or null for all, not"
    ) as error:
        Cut.read(wrong, "the setting", others="null for all")
    assert "\n" not in str(error.value)


def test_shown() -> None:
    assert [shown(top_k) for top_k in (40, "40+80%", None)] == ["40", "40+80%", "all"]
