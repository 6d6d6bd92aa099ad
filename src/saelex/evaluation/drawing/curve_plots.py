"""The pictures of `evaluation.curves`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from saelex.errors import InputError
from saelex.evaluation.curves import LatencyPoint, QualityCurve, QualityPoint, frontier
from saelex.evaluation.drawing.plots import QUIET, Picture, draw, line_style, literal
from saelex.top_k import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAME_WIDTH, _NAME_HEIGHT = 0.016, 0.055  # of a letter beside a point, as shares of its axes
_Named: TypeAlias = tuple[float, float, str]
"""Where a point is, and what stands beside it."""


def top_k_picture(curves: Sequence[QualityCurve], measure: str, *, queries: int) -> Picture:
    """A table in colours for each system: the measure at every Top-K of queries and of documents.

    queries: how many were measured, all collections together. Raises InputError for a measure that is not there.
    """
    _check(curves, measure)
    values = [point.measured.measures[measure] for curve in curves for point in curve.points]
    low, high = min(values), max(values)

    def panel(curve: QualityCurve) -> Callable[[Axes], None]:
        return lambda axes: _table(axes, curve, measure, low, high)

    caption = f"{measure} by latents kept of a query and of a passage (exact search){_of(curves, queries)}"
    return draw("top-k", [panel(curve) for curve in curves], caption=caption, legend=False)


def pruning_picture(curves: Sequence[QualityCurve], measure: str, *, queries: int) -> Picture:
    """The measure against the latents kept of a document, and as a share of what the first point of each system has.

    The systems' points are at the same Top-K, in the same order. Raises InputError as `top_k_picture` does.
    """
    _check(curves, measure)
    kept = [point.top_k[1] for point in curves[0].points]

    def panel(axes: Axes, share: bool) -> None:
        for number, curve in enumerate(curves):
            heights = [point.measured.measures[measure] for point in curve.points]
            if share:
                heights = [100 * height / (heights[0] or 1) for height in heights]
            axes.plot(range(len(kept)), heights, label=literal(curve.system), **line_style(number))
        axes.set_xticks(range(len(kept)), [shown(k) for k in kept])
        axes.set_xlabel("latents kept of a passage (Top-K)")
        axes.set_ylabel(f"{measure}, % of that at {shown(kept[0])}" if share else measure)

    caption = f"{measure} of documents cut to their heaviest latents (exact search){_of(curves, queries)}"
    return draw("pruning", [lambda axes: panel(axes, False), lambda axes: panel(axes, True)], caption=caption)


def flops_picture(curves: Sequence[QualityCurve], measure: str, *, queries: int) -> Picture:
    """The measure against QD-FLOPs: every Top-K faintly, and as a line those that no cheaper one beats.

    Queries that keep a share of their weight ("40+80%") are a line of their own beside those of one size. Raises
    InputError as `top_k_picture` does.
    """
    _check(curves, measure)

    def panel(axes: Axes) -> None:
        axes.set_xscale("log")
        axes.margins(y=0.12)
        named: list[_Named] = []
        for number, (label, points) in enumerate(line for curve in curves for line in _lines_by_rule(curve)):
            style = line_style(number)
            x, y = _flops_and(measure, points)
            axes.plot(x, y, **(style | {"linestyle": "", "alpha": 0.3, "markersize": 3}))
            best = frontier(points, measure)
            x, y = _flops_and(measure, best)
            axes.plot(x, y, label=literal(label), **style)
            named += zip(x, y, ["/".join(map(shown, point.top_k)) for point in best])
        _plain_ticks(axes)
        _name_points(axes, named)
        axes.set_xlabel("QD-FLOPs (columns that a random query and passage share)")
        axes.set_ylabel(measure)

    caption = (
        f"{measure} against QD-FLOPs; beside points, where there is room: Top-K of queries / documents (exact search)"
    )
    return draw("flops", [panel], caption=caption + _of(curves, queries))


def latency_picture(collections: Mapping[str, Sequence[LatencyPoint]], *, name: str = "latency") -> Picture:
    """Recall of the exact top k against median latency, a row of panels for each collection, a panel for each k.

    collections: `curves.recall_latency` of every collection, by its name, all with the same values of k.
    """
    first = next(iter(collections.values()))
    depths = list(dict.fromkeys(point.latency.k for point in first))

    def panel(title: str, points: Sequence[LatencyPoint], k: int) -> Callable[[Axes], None]:
        return lambda axes: _recall_panel(axes, title, [one for one in points if one.latency.k == k], k)

    panels = [panel(title, points, k) for title, points in collections.items() for k in depths]
    asked = ", ".join(f"{title}: {points[0].latency.queries:,}" for title, points in collections.items())
    caption = (
        "recall of the exact top k against the median time of one query, already encoded, on one core, after a warm-up "
        "pass; stars: the modes as an index has them; beside points, where there is room: the value of the knob "
        "that is turned. "
        f"Queries: {asked}"
    )
    return draw(name, panels, caption=caption, columns=len(depths))


def _recall_panel(axes: Axes, title: str, points: Sequence[LatencyPoint], k: int) -> None:
    lines: dict[tuple[str, str], list[LatencyPoint]] = {}
    for point in points:
        lines.setdefault((point.latency.mode, point.knob), []).append(point)
    stars: list[_Named] = []
    values: list[_Named] = []
    number = 0
    for (mode, knob), found in lines.items():
        x, y = [point.latency.p50 for point in found], [point.recall for point in found]
        if mode == "exact":
            axes.axvline(x[0], color="0.5", linewidth=1, linestyle=":")
            axes.annotate("exact", (x[0], 1), xycoords=("data", "axes fraction"), va="bottom", ha="center", color="0.4")
        elif not knob:
            axes.plot(x, y, linestyle="", marker="*", markersize=10, color="0.2", zorder=3)
            stars.append((x[0], y[0], mode))
        else:
            axes.plot(x, y, label=f"{mode}: {knob.replace('_', ' ')}", **line_style(number))
            values += zip(x, y, [str(point.value) for point in found])
            number += 1
    axes.set_xscale("log")
    missed = max(0.02, 1 - min(point.recall for point in points))
    axes.set_ylim(1 - 1.12 * missed, 1 + 0.06 * missed)
    _plain_ticks(axes)
    _name_points(axes, stars + values)
    axes.set_title(literal(title), fontsize=9, loc="left", pad=14)
    axes.set_xlabel("time of a query, p50, ms")
    axes.set_ylabel(f"recall of the exact top {k}")


def _table(axes: Axes, curve: QualityCurve, measure: str, low: float, high: float) -> None:
    """Rows are the queries' Top-K, columns the documents'; every cell says its value."""
    values = {point.top_k: point.measured.measures[measure] for point in curve.points}
    query_ks, document_ks = (list(dict.fromkeys(kept[side] for kept in values)) for side in (0, 1))
    cells = [[values[query_k, document_k] for document_k in document_ks] for query_k in query_ks]
    axes.pcolormesh(cells, cmap="cividis", vmin=low, vmax=high if high > low else low + 1, edgecolors="w", linewidth=1)
    for row, line in enumerate(cells):
        for column, value in enumerate(line):
            bright = value > (low + high) / 2
            axes.text(
                column + 0.5, row + 0.5, f"{value:.3f}", ha="center", va="center", fontsize=8,
                color="black" if bright else "white",
            )  # fmt: skip
    axes.set_xticks([column + 0.5 for column in range(len(document_ks))], [shown(k) for k in document_ks])
    axes.set_yticks([row + 0.5 for row in range(len(query_ks))], [shown(k) for k in query_ks])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_title(literal(f"{curve.system}: {measure}"), fontsize=9, loc="left")
    axes.set(xlabel="latents kept of a passage (Top-K)", ylabel="latents kept of a query (Top-K)")


def _plain_ticks(axes: Axes) -> None:
    """0.2, 0.5, 1, 2, 5 on a logarithmic axis instead of powers of ten, which a short range may not even hold."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 4, 5, 7)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _name_points(axes: Axes, named: Sequence[_Named]) -> None:
    """Names to the lower right of points, the first ones first; one that would lie on another is left out.

    Call when the axes have their limits.
    """
    taken: list[tuple[float, float, float]] = []  # left, right and height, as shares of the axes
    for x, y, name in named:
        left, height = axes.transAxes.inverted().transform(axes.transData.transform((x, y)))
        right = left + _NAME_WIDTH * (len(name) + 1)
        if any(left < end and begin < right and abs(height - at) < _NAME_HEIGHT for begin, end, at in taken):
            continue
        taken.append((left, right, height))
        axes.annotate(name, (x, y), xytext=(4, -8), textcoords="offset points", fontsize=6.5, color=QUIET)


def _lines_by_rule(curve: QualityCurve) -> Iterator[tuple[str, list[QualityPoint]]]:
    """Names and points: of queries cut to one size, and of those that keep a share of their weight."""
    sized = [point for point in curve.points if not isinstance(point.top_k[0], str)]
    shared = [point for point in curve.points if isinstance(point.top_k[0], str)]
    if sized:
        yield curve.system, sized
    if shared:
        yield f"{curve.system}, share of the weight", shared


def _flops_and(measure: str, points: Sequence[QualityPoint]) -> tuple[list[float], list[float]]:
    return [point.measured.qd_flops or 0.0 for point in points], [point.measured.measures[measure] for point in points]


def _check(curves: Sequence[QualityCurve], measure: str) -> None:
    if not curves:
        raise InputError("a picture of curves needs one system at least")
    for curve in curves:
        frontier(curve.points, measure)


def _of(curves: Sequence[QualityCurve], queries: int) -> str:
    names = list(curves[0].collections)
    over = names[0] if len(names) == 1 else f"mean over {len(names)} collections ({', '.join(names)})"
    return f"; {over}; {queries:,} queries"
