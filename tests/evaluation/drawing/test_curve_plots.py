from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from saelex.errors import InputError
from saelex.evaluation.costs import Latency
from saelex.evaluation.curves import LatencyPoint, QualityCurve, QualityPoint
from saelex.evaluation.drawing.curve_plots import flops_picture, latency_picture, pruning_picture, top_k_picture
from saelex.evaluation.drawing.plots import COLOURS, Picture, draw
from saelex.evaluation.encoded import Measured

KEPT = (400, 200, 100, None)


def curve(system: str, less: float) -> QualityCurve:
    points = [
        QualityPoint((query, k), Measured({"nDCG@10": 0.5 - less * i - less * j}, 30, 100, 9.0 - i - 3 * j))
        for i, k in enumerate(KEPT)
        for j, query in enumerate((40, 20))
    ]
    return QualityCurve.of(system, {"first:test": points, "second:dev": points})


def with_shares(one: QualityCurve) -> QualityCurve:
    points = [
        QualityPoint((f"40+{share}%", 400), Measured({"nDCG@10": 0.51 + share / 1000}, 50, 100, 9.5 + share / 100))
        for share in (70, 80)
    ]
    return QualityCurve.of(one.system, {name: line + points for name, line in one.collections.items()})


def pruned(one: QualityCurve) -> QualityCurve:
    return QualityCurve(one.system, one.points[::2], one.collections)


def latency_point(mode: str, knob: str, value: int | None, k: int, p50: float, recall: float) -> LatencyPoint:
    return LatencyPoint(knob, value, recall, 100.0, Latency(p50, 2 * p50, 3 * p50, k, mode, 1, 1234))  # type: ignore[arg-type]


def latency_points() -> list[LatencyPoint]:
    return [
        one
        for k in (10, 100)
        for one in (
            latency_point("exact", "", None, k, 1.0, 1.0),
            latency_point("capped", "", None, k, 0.5, 0.99),
            latency_point("two_step", "", None, k, 0.25, 0.95),
            latency_point("capped", "cap", 64, k, 0.2, 0.7),
            latency_point("capped", "cap", 512, k, 0.4, 0.9),
            latency_point("two_step", "query_terms", 2, k, 0.1, 0.6),
        )
    ]


CURVES = [curve("one system", 0.02), curve("another", 0.05), curve("$third$", 0.051)]


def pictures() -> list[Picture]:
    return [
        top_k_picture(CURVES, "nDCG@10", queries=225),
        pruning_picture(list(map(pruned, CURVES)), "nDCG@10", queries=225),
        flops_picture(list(map(with_shares, CURVES)), "nDCG@10", queries=225),
        latency_picture({"first:test": latency_points(), "second:dev": latency_points()}),
    ]


WORDS = {
    "top-k": [
        "one system: nDCG@10",
        "latents kept of a query (Top-K)",
        "latents kept of a passage",
        "0.460",
        "all",
        "$third$",
    ],
    "pruning": ["another", "$third$", "nDCG@10, % of that at 400", "latents kept of a passage", "200"],
    "flops": [
        "another",
        "QD-FLOPs (columns that a random query and passage share)",
        "20/400",
        "another, share of the weight",
    ],
    "latency": ["time of a query, p50, ms", "recall of the exact top 100", "capped: cap", "two_step", "exact", "512"],
}


def test_files_hold_what_the_picture_says_and_are_the_same_again(tmp_path: Path) -> None:
    from matplotlib.image import imread

    (tmp_path / "again").mkdir()
    for one, again in zip(pictures(), pictures()):
        png, svg = one.save(tmp_path)
        assert (png, svg) == (tmp_path / f"{one.name}.png", tmp_path / f"{one.name}.svg")
        height, width, _ = imread(png).shape
        assert min(height, width) > 400 and imread(png)[..., :3].min() < 0.2  # something is drawn
        said = " ".join(" ".join(ElementTree.parse(svg).getroot().itertext()).split())
        count = "first:test: 1,234" if one.name == "latency" else "225 queries"
        for words in (*WORDS[one.name], count):
            assert words in said, (one.name, words)
        for path, same in zip((png, svg), again.save(tmp_path / "again")):
            assert path.read_bytes() == same.read_bytes()


def test_systems_have_colours_of_their_own(tmp_path: Path) -> None:
    drawing = flops_picture(CURVES, "nDCG@10", queries=3).svg().lower()
    assert all(colour.lower() in drawing for colour in COLOURS[:3])
    assert COLOURS[3].lower() not in drawing


def test_names_of_points_do_not_lie_on_each_other() -> None:
    from matplotlib.text import Annotation

    values = [(0.1 * 1.02**i, 0.5 + i / 1000) for i in range(40)]
    points = [latency_point("exact", "", None, 10, 1.0, 1.0)]
    points += [latency_point("capped", "cap", 100 + i, 10, *value) for i, value in enumerate(values)]
    figure = latency_picture({"set": points}).figure
    figure.draw_without_rendering()
    boxes = [
        one.get_window_extent()
        for one in figure.axes[0].texts
        if isinstance(one, Annotation) and one.get_text() != "exact"
    ]
    assert 2 <= len(boxes) < 40
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_the_users_own_style_changes_nothing() -> None:
    import matplotlib

    plain = pruning_picture(list(map(pruned, CURVES)), "nDCG@10", queries=3).svg()
    with matplotlib.rc_context({"lines.linewidth": 9, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert pruning_picture(list(map(pruned, CURVES)), "nDCG@10", queries=3).svg() == plain
        assert matplotlib.rcParams["lines.linewidth"] == 9


def test_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no measure 'MAP'"):
        flops_picture(CURVES, "MAP", queries=3)
    with pytest.raises(InputError, match="one system at least"):
        top_k_picture([], "nDCG@10", queries=3)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'saelex\[plots\]'"):
        draw("x", [], caption="")
