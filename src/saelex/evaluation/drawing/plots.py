"""The house style of pictures: PNG and SVG of the same figure, the same files for the same numbers.

Matplotlib (extra `plots`) is loaded when something is drawn. Nothing of pyplot is used, so there is no window, no
display and no state that another drawing leaves behind.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saelex.files import expanded, replacing
from saelex.installation import needs_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours: told apart by readers who see few colours."""

QUIET = "0.35"
"""Grey of captions and remarks."""

_MARKERS = "osD^vP"  # a second way to tell lines apart, for prints in grey
_DPI = 200
# no dates, no versions: the same numbers give the same file
_NO_FACTS: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
_ROW, _COLUMN = 2.9, 4.6  # inches of one panel


def check_matplotlib(what: str) -> None:
    """Raises InputError where matplotlib is missing. what: that is drawn by it, "a report"."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise needs_extra(what, "matplotlib", "plots") from error


@contextmanager
def house_style(name: str) -> Iterator[None]:
    """Matplotlib's own defaults, whatever this user has set, and ours: while a figure is made and while it is saved.

    name: of the picture; pictures in one page need different ones, so that their parts' ids differ.
    """
    import matplotlib

    # `Any`: the type of its keys differs between matplotlib's versions
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif", "font.size": 9}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(style)
        yield


def dress(axes: Axes) -> None:
    """No frame but the two axes, and faint lines behind the data to read heights by."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)


def svg_text(figure: Figure) -> str:
    """A figure as the text of an SVG file, its words kept as words. Call inside `house_style`."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata=_NO_FACTS["svg"])
    return out.getvalue()


@dataclass(frozen=True)
class Picture:
    """A drawn figure under a name, which is that of its files."""

    name: str
    figure: Figure

    def svg(self) -> str:
        """The text of an SVG file."""
        with house_style(self.name):
            return svg_text(self.figure)

    def png(self) -> bytes:
        """The content of a PNG file."""
        out = io.BytesIO()
        with house_style(self.name):
            self.figure.savefig(out, format="png", dpi=_DPI, metadata=_NO_FACTS["png"])
        return out.getvalue()

    def save(self, folder: str | Path) -> list[Path]:
        """Write NAME.png and NAME.svg into a folder that is there, each whole, in place of what was there."""
        contents = {"png": self.png(), "svg": self.svg().encode()}
        paths = [expanded(folder) / f"{self.name}.{kind}" for kind in contents]
        for path, content in zip(paths, contents.values()):
            with replacing(path) as temporary:
                temporary.write_bytes(content)
        return paths


def draw(
    name: str,
    panels: Sequence[Callable[[Axes], None]],
    *,
    caption: str,
    columns: int | None = None,
    legend: bool = True,
) -> Picture:
    """A picture of panels, each drawn by its function, with one legend above them and a caption below.

    columns: panels side by side; None puts all of them in one row. legend: over all panels' labelled lines, outside
    the data. Raises InputError where matplotlib is missing.
    """
    check_matplotlib("a picture")
    from matplotlib.figure import Figure

    columns = columns or len(panels)
    rows = -(-len(panels) // columns)
    width = _COLUMN * columns
    lines = textwrap.wrap(caption, int(15.5 * width))
    with house_style(name):
        figure = Figure(figsize=(width, _ROW * rows + 0.14 * len(lines)), layout="constrained")
        for number, panel in enumerate(panels, start=1):
            axes = figure.add_subplot(rows, columns, number)
            dress(axes)
            panel(axes)
        if legend:
            _legend(figure, width)
        figure.supxlabel(literal("\n".join(lines)), x=0.01, ha="left", fontsize=7.5, color=QUIET)
    return Picture(name, figure)


def _legend(figure: Figure, width: float) -> None:
    """Every label once, above the panels."""
    shown: dict[str, Any] = {}
    for axes in figure.axes:
        for line, label in zip(*axes.get_legend_handles_labels()):
            shown.setdefault(label, line)
    if shown:
        longest = max(map(len, shown))
        columns = max(1, min(len(shown), int(width / (0.45 + 0.065 * longest))))
        figure.legend(
            list(shown.values()), list(shown), loc="outside upper left", ncols=columns, frameon=False, fontsize=8
        )


def literal(text: str) -> str:
    """Names as they are: matplotlib takes what stands between dollars for a formula."""
    return text.replace("$", r"\$")


def line_style(number: int) -> dict[str, Any]:
    """Of the picture's line of this number, from 0: arguments of `Axes.plot`."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "markersize": 4,
        "linewidth": 1.4,
    }
