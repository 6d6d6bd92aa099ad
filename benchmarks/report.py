"""What every benchmark prints and writes: figures beside their goals, the machine and the versions they came from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from saelex.evaluation.provenance import machine, versions
from saelex.files import write_text

PACKAGES = ("saelex", "numpy", "scipy", "numba", "torch", "transformers", "sentence-transformers")


@dataclass(frozen=True)
class Figure:
    """One measured number; `goal` is the number (or the words) it should reach, None where nothing was promised."""

    metric: str
    value: float | int | str
    unit: str
    goal: float | int | str | None = None
    note: str = ""


class Report:
    """Collects figures, prints them as one table and writes them as JSON.

    The JSON is a list of {"metric", "value", "unit", "goal"}, with "note" where there is one. Every entry also carries
    "benchmark", "machine" (cpu, cores, memory) and "versions", so that rows of several runs can simply be put together.
    """

    def __init__(self, title: str, packages: Iterable[str] = ()) -> None:
        self.title = title
        self.figures: list[Figure] = []
        self._packages = (*PACKAGES, *packages)

    def add(
        self, metric: str, value: float | int | str, unit: str, goal: float | int | str | None = None, note: str = ""
    ) -> None:
        self.figures.append(Figure(metric, value, unit, goal, note))

    def write(self, json_path: str | Path) -> None:
        """Writes the figures so far; a reader never sees half a file."""
        path = Path(json_path)
        origin = {"benchmark": self.title, "machine": machine(), "versions": versions(self._packages)}
        content = [
            {key: value for key, value in asdict(figure).items() if key != "note" or value} | origin
            for figure in self.figures
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, [json.dumps(content, indent=2), "\n"])

    def print(self) -> None:
        about = machine()
        print(f"\n{self.title}  ({about['cpu']}, {about['cores']} cores, {about['memory_gib']} GiB)")
        print(" ".join(f"{name}=={version}" for name, version in versions(self._packages).items()))
        rows = [(f.metric, f.value, f.unit, f.goal, f.note) for f in self.figures]
        print(table(("metric", "value", "unit", "goal", "note"), rows))


def table(header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    """Plain aligned columns; those that hold only numbers go to the right."""
    body = list(rows)
    numeric = [
        all(isinstance(row[column], (int, float)) or not row[column] for row in body) for column in range(len(header))
    ]
    lines = [header, *(tuple(_number(cell) for cell in row) for row in body)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]

    def aligned(line: tuple[str, ...]) -> str:
        cells = (cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(line, widths, numeric))
        return "  ".join(cells).rstrip()

    return "\n".join([aligned(header), "  ".join("-" * width for width in widths), *map(aligned, lines[1:])])


def _number(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)
