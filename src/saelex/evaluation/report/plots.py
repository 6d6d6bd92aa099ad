"""The pictures of a report, in the house style of `saelex.evaluation.drawing.plots`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from saelex.evaluation.drawing.pages import cut
from saelex.evaluation.drawing.plots import COLOURS, QUIET, draw, line_style, literal
from saelex.evaluation.report.blocks import Figure
from saelex.evaluation.significance import wins_losses_ties

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GAIN, _LOSS = COLOURS[:2]
_NAME_LENGTH = 40  # characters of a system's name in a plot


class Priced(NamedTuple):
    """A system in the picture of quality against cost; qd_flops is None where it has no sparse vectors of ours."""

    system: str
    quality: float
    qd_flops: float | None


def differences_picture(
    number: int, collection: str, measure: str, pair: tuple[str, str], values: Mapping[str, float]
) -> Figure:
    """Bars of per-query differences, the largest gain of the first system on the left. number: of the picture."""
    ordered = sorted(values.values(), reverse=True)
    first, second = pair

    def panel(axes: Axes) -> None:
        edges = range(len(ordered) + 1)
        axes.stairs([max(0.0, one) for one in ordered], edges, fill=True, color=_GAIN)
        axes.stairs([min(0.0, one) for one in ordered], edges, fill=True, color=_LOSS)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_xlim(0, len(ordered))
        axes.set_xlabel("queries, sorted by difference")
        axes.set_ylabel(f"difference in {literal(measure)}")

    wins, losses, ties = wins_losses_ties(ordered)
    told = f"{first} is better on {wins:,} queries, {second} on {losses:,}, equal on {ties:,}"
    mean = sum(ordered) / len(ordered)
    alt = (
        f"Bars of the difference in {measure} between {first} and {second} on each query of {collection}, sorted: "
        f"{told}; from {ordered[0]:+.3f} to {ordered[-1]:+.3f}, mean {mean:+.3f}."
    )
    caption = f"{collection}: {measure} of {first} minus that of {second}, query by query. {told}; mean {mean:+.4f}."
    return Figure(draw(f"differences-{number}-{_slug(collection)}", [panel], caption="", legend=False), alt, caption)


def quality_picture(measure: str, systems: Sequence[Priced], over: str) -> Figure | None:
    """Quality against QD-FLOPs; dotted lines are systems without them. None where no system has them.

    over: what the values are means of, as in "3 collections".
    """
    priced = [one for one in systems if one.qd_flops is not None]
    if not priced:
        return None

    def panel(axes: Axes) -> None:
        for i, one in enumerate(priced):
            style = {**line_style(i), "linestyle": "", "markersize": 6}
            axes.plot([one.qd_flops or 0.0], [one.quality], label=_name(one.system), **style)
        for i, one in enumerate(line for line in systems if line.qd_flops is None):
            dashes = (0, (1 + i, 2))  # ever longer, to tell lines apart
            axes.axhline(one.quality, color=QUIET, linewidth=1, linestyle=dashes)
            axes.annotate(
                _name(one.system), (1, one.quality), xycoords=("axes fraction", "data"), xytext=(-2, 2),
                textcoords="offset points", ha="right", fontsize=7, color=QUIET,
            )  # fmt: skip
        axes.margins(x=0.15, y=0.15)
        axes.set_xlim(left=0)
        axes.set_xlabel("QD-FLOPs (columns that a random query and passage share)")
        axes.set_ylabel(literal(measure))

    points = "; ".join(f"{one.system} {one.quality:.3f} at {one.qd_flops:.2f}" for one in priced)
    lines = "; ".join(f"{one.system} {one.quality:.3f}" for one in systems if one.qd_flops is None)
    alt = f"{measure} against QD-FLOPs: {points}." + (f" Without QD-FLOPs: {lines}." if lines else "")
    caption = f"{measure} against QD-FLOPs, {over}. Better is higher, cheaper is further left."
    caption += " Dotted lines: systems without sparse vectors of ours." if lines else ""
    return Figure(draw("quality-flops", [panel], caption=""), alt, caption)


def _name(system: str) -> str:
    """For a legend."""
    return literal(cut(system, _NAME_LENGTH))


def _slug(text: str) -> str:
    """For a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "collection"
