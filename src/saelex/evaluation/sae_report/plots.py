"""The pictures of a report, as SVG text to stand in a page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saelex.evaluation.drawing.pages import inline_svg
from saelex.evaluation.drawing.plots import COLOURS, dress, house_style, svg_text

Sae = Mapping[str, Any]

_CURVES = (
    ("fvu", "variance unexplained"),
    ("l0", "latents per token"),
    ("dead_share", "dead share"),
    ("tokens_per_s", "tokens per second"),
)


def density_plot(saes: Sequence[Sae]) -> str:
    """How many latents fire how often."""

    def draw(axes: Axes) -> None:
        _steps(axes, saes, "density_histogram")
        above = saes[0]["metrics"]["dense_above"]
        axes.axvline(math.log10(above), color="0.5", linewidth=1, linestyle=":")
        axes.annotate("dense →", (math.log10(above), 1), xycoords=("data", "axes fraction"), va="bottom", color="0.4")
        low, high = (int(edge) for edge in (saes[0]["density_histogram"]["edges"][i] for i in (0, -1)))
        axes.set_xticks(range(low, high + 1), [_power(exponent) for exponent in range(low, high + 1)])
        axes.set(xlabel="share of tokens on which a latent fires", ylabel="latents")

    return _svg(draw, "density", legend=len(saes) > 1)


def l0_plot(saes: Sequence[Sae]) -> str:
    """How many latents fire per token."""
    return _token_plot(saes, "l0", "latents that fire on a token")


def cosine_plot(saes: Sequence[Sae]) -> str:
    """How well single tokens are rebuilt, by direction."""
    return _token_plot(saes, "cosine", "cosine of state and reconstruction")


def error_plot(saes: Sequence[Sae]) -> str:
    """How well single tokens are rebuilt, by length of the error."""
    return _token_plot(saes, "error", "length of the error / length of the state")


def training_plots(saes: Sequence[Sae]) -> list[str]:
    """Curves of the training logs, one picture per quantity; none where there is no log."""
    logged = [(i, sae) for i, sae in enumerate(saes) if sae["training"]]
    return [
        _svg(_curve(logged, name, title), f"training-{name}", legend=len(saes) > 1)
        for name, title in _CURVES
        if any(record.get(name) is not None for _, sae in logged for record in sae["training"])
    ]


def _token_plot(saes: Sequence[Sae], quantity: str, label: str) -> str:
    """Shares of the tokens by a quantity of each."""

    def draw(axes: Axes) -> None:
        _steps(axes, saes, f"{quantity}_histogram", share=True)
        axes.set(xlabel=label, ylabel="share of tokens")

    return _svg(draw, quantity, legend=len(saes) > 1)


def _curve(logged: Sequence[tuple[int, Sae]], name: str, title: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for i, sae in logged:
            points = [
                (record["tokens"] / 1e6, record[name]) for record in sae["training"] if record.get(name) is not None
            ]
            axes.plot(*zip(*points), color=COLOURS[i % len(COLOURS)], label=sae["name"], linewidth=1.4)
        axes.set(xlabel="million tokens", ylabel=title)
        axes.set_ylim(bottom=0)

    return draw


def _steps(axes: Axes, saes: Sequence[Sae], name: str, *, share: bool = False) -> None:
    """Outlined histograms over each other, cut to where they hold anything."""
    low, high = [], []
    for i, sae in enumerate(saes):
        edges, counts = sae[name]["edges"], sae[name]["counts"]
        total = (sum(counts) or 1) if share else 1
        colour = COLOURS[i % len(COLOURS)]
        axes.stairs(
            [count / total for count in counts], edges, fill=len(saes) == 1, color=colour, label=sae["name"], alpha=0.9
        )
        held = [k for k, count in enumerate(counts) if count] or [0]
        low.append(edges[held[0]])
        high.append(edges[held[-1] + 1])
    margin = 0.02 * (max(high) - min(low))
    axes.set_xlim(min(low) - margin, max(high) + margin)
    axes.set_ylim(bottom=0)


def _svg(draw: Callable[[Axes], None], name: str, *, legend: bool) -> str:
    with house_style(name):
        figure = Figure(figsize=(4.6, 2.7), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        dress(axes)
        if legend:
            axes.legend(frameon=False, fontsize=8)
        drawing = svg_text(figure)
    return inline_svg(drawing, name)


def _power(exponent: int) -> str:
    return "all" if exponent == 0 else f"1/{10**-exponent:,}"
