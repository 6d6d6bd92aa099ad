from __future__ import annotations

import re
from pathlib import Path

import pytest

from retrieval_table import Cell, Row, as_markdown, means_table, sets_table
from saelex.evaluation.encoded import Measured
from saelex.evaluation.measures import MEASURES

GROUPS = {"in-domain": ["one", "two"], "out-of-domain": ["three"]}
CELL_BORDER = re.compile(r"(?<!\\)\|")


def rows() -> list[Row]:
    """A baseline without vectors, and a system whose note holds what ends a cell."""
    quality = dict.fromkeys(MEASURES, 0.25)
    names = [name for group in GROUPS.values() for name in group]
    dense, better = Measured(quality), Measured(quality | {"nDCG@10": 0.5}, 30.0, 300.0, 3.0)
    return [
        Row("dense", sets=dict.fromkeys(names, dense)),
        Row("ours", note="1 | 2", sets=dict.fromkeys(names, better)),
    ]


def test_every_row_has_the_cells_of_the_header() -> None:
    for header, body in (means_table(rows(), GROUPS), sets_table(rows())):
        lines = as_markdown(header, body).splitlines()
        assert {len(CELL_BORDER.findall(line)) for line in lines} == {len(header) + 1}
        assert len(lines) == 4
    header, body = means_table(rows(), GROUPS)
    dense, ours = as_markdown(header, body).splitlines()[2:]
    assert dense == "| dense | 0.250 | **0.250** | **0.250** | 0.250 | **0.250** | **0.250** |  |  |  |"
    assert ours.startswith("| ours | **0.500** |")
    assert ours.endswith(r"| 30/300 | 3.00 | 1 \| 2 |")


@pytest.mark.parametrize("cells", [1, 3])
def test_uneven_rows_are_refused(cells: int) -> None:
    with pytest.raises(ValueError, match="rows of other than 2 cells: dense"):
        as_markdown(["system", "value"], [[Cell("dense")] * cells])


def test_tables_in_the_readme_are_even() -> None:
    blocks = re.findall(r"(?m)(?:^\|.*\n)+", Path("README.md").read_text(encoding="utf-8"))
    assert len(blocks) >= 3
    for block in blocks:
        assert len({len(CELL_BORDER.findall(line)) for line in block.splitlines()}) == 1, block.splitlines()[0]
