"""Tables and plots of the study of the papers' claims."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from saelex.evaluation.drawing.curve_plots import flops_picture
from saelex.evaluation.drawing.plots import draw, line_style
from saelex.evaluation.provenance import PACKAGES, machine, versions
from saelex.files import write_text
from studies.claims.claims import Claim, Figures, all_claims
from studies.claims.measured import NDCG, Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def write_claims(study: Study, folder: Path) -> None:
    """Writes claims.md, claims.json and the pictures into the folder, and prints the verdicts."""
    claims = all_claims(study)
    write_text(folder / "claims.md", [f"{line}\n" for line in markdown(study, claims)])
    content = {
        "machine": machine(),
        "versions": versions(PACKAGES),
        "recipe": asdict(study.recipe),
        "sizes": study.sizes,
        "baselines": study.baselines,
        "saes": study.sae_facts,
        "claims": [asdict(claim) for claim in claims],
    }
    write_text(folder / "claims.json", [json.dumps(content, indent=2) + "\n"])
    draw_pictures(study, folder)
    for claim in claims:
        print(f"({claim.letter}) {claim.title}: {verdict(claim)}. {claim.ours}")


def verdict(claim: Claim) -> str:
    return {True: "holds here", False: "does not hold here", None: "undecided"}[claim.holds]


def markdown(study: Study, claims: list[Claim]) -> Iterator[str]:
    """A summary, then every claim with its table."""
    yield "| | claim | the papers | here | |"
    yield "|---|---|---|---|---|"
    for claim in claims:
        yield _line(claim.letter, claim.title, claim.paper, claim.ours, f"**{verdict(claim)}**")
    for claim in claims:
        yield from ("", f"### ({claim.letter}) {claim.title}", "")
        yield f"The papers: {claim.paper}."
        yield ""
        yield f"Here: **{verdict(claim)}** ({claim.rule}). {claim.ours[:1].upper()}{claim.ours[1:]}."
        yield ""
        yield _line(*claim.header)
        yield f"|---|{'---:|' * (len(claim.header) - 1)}"
        for row in claim.rows:
            yield _line(*row)
    yield ""
    sizes = ", ".join(f"{name} {queries}/{documents}" for name, (queries, documents) in study.sizes.items())
    yield f"Queries/documents: {sizes}."


def _line(*cells: str) -> str:
    """A line of a table; a | within a cell would end it."""
    escaped = [cell.replace("|", r"\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


def draw_pictures(study: Study, folder: Path) -> None:
    """Width and layer in one picture; quality against QD-FLOPs of the two heads in another."""
    of = Figures(study)
    steps = study.settings[of.roles.sae].training.max_steps
    widths = {study.sae(name).width: name for name in of.roles.widths}
    layers = {study.sae(name).layer: name for name in of.roles.layers}

    def panel(axes: Axes, names: dict[int, str], label: str, logarithmic: bool) -> None:
        for number, (title, sets) in enumerate((("in-domain", of.near), ("out-of-domain", of.far))):
            axes.plot(
                list(names), [of.quality(name, sets) for name in names.values()], label=title, **line_style(number)
            )
        if logarithmic:
            axes.set_xscale("log", base=2)
        axes.set_xticks(list(names), [f"{value:,}" for value in names])
        axes.set_xlabel(label)
        axes.set_ylabel(NDCG)

    panels = [
        lambda axes: panel(axes, widths, "latents of the SAE", True),
        lambda axes: panel(axes, layers, f"layer that the SAE reads, of 0 to {study.recipe.blocks - 1}", False),
    ]
    draw("width-and-layer", panels, caption=f"{NDCG} at Top-K 40/400, after {steps} steps of retrieval training").save(
        folder
    )
    curves = [run.curve for run in study.runs.values() if run.curve is not None]
    queries = sum(queries for queries, _ in study.sizes.values())
    flops_picture(curves, NDCG, queries=queries).save(folder)
