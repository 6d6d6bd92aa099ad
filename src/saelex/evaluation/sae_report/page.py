"""A report as one HTML page that needs nothing else: no network, no scripts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from saelex.evaluation.drawing.pages import html_page
from saelex.evaluation.sae_report.plots import cosine_plot, density_plot, error_plot, l0_plot, training_plots

Report = Mapping[str, Any]


def page(report: Report) -> str:
    """The page; `report` is what report.json holds."""
    first = report["saes"][0]
    sections = [
        _head(report),
        _metrics(report),
        _pictures("How it fires", (density_plot(report["saes"]), l0_plot(report["saes"])), _DENSITY_NOTE),
        _pictures("How it rebuilds", (cosine_plot(report["saes"]), error_plot(report["saes"])), ""),
        _pictures("Training", training_plots(report["saes"]), "From the run's own <code>metrics.jsonl</code>."),
        _examples(report),
        _densest(report),
        _origin(report),
    ]
    body = "\n".join(section for section in sections if section)
    return html_page(f"SAE report: {first['name']}", body, _STYLE)


def _head(report: Report) -> str:
    sae, texts = report["saes"][0], report["texts"]
    layer = "" if report["backbone"]["layer"] is None else f", output of block {report['backbone']['layer']}"
    corpora = ", ".join(map(escape, texts["corpora"])) or "the texts given"
    return f"""<header>
<h1>{escape(sae["name"])}</h1>
<p>A sparse autoencoder of <b>{sae["n_latents"]:,}</b> latents ({escape(sae["gate"])}) on
<b>{escape(report["backbone"]["model"])}</b>{layer} ({sae["d_model"]:,} dimensions), measured on
<b>{texts["tokens"]:,}</b> tokens of <b>{texts["texts"]:,}</b> texts from {corpora}.</p>
</header>"""


def _metrics(report: Report) -> str:
    saes = report["saes"]
    names = "".join(f"<th>{escape(sae['name'])}</th>" for sae in saes)
    head = f"<thead><tr><th></th>{names}<th></th></tr></thead>" if len(saes) > 1 else ""
    rows = [
        _row("Latents", "", [f"{sae['n_latents']:,}" for sae in saes]),
        _row("Gate", "", [escape(sae["gate"]) for sae in saes]),
        *(
            _row(title, meaning.format(**saes[0]["metrics"]), [_figure(sae["metrics"][name], kind) for sae in saes])
            for name, title, meaning, kind in _METRICS
        ),
        _row("L0, percentiles", "5, 50 and 95 % of the tokens have no more", [_percentiles(sae) for sae in saes]),
    ]
    return f"""<section><h2>Figures</h2>
<table class="figures">{head}<tbody>
{"".join(rows)}{_losses(report)}</tbody></table>
{_no_loss(report)}</section>"""


def _percentiles(sae: Mapping[str, Any]) -> str:
    return " / ".join(f"{sae['metrics'][f'l0_p{percent}']:,}" for percent in (5, 50, 95))


def _losses(report: Report) -> str:
    found = [sae["loss"] for sae in report["saes"]]
    if None in found:
        return ""
    first = found[0]
    place = {"zero": "zeros", "mean": "the mean state"}[first["ablation"]]
    rows = [
        ("Loss recovered", "recovered", "(ablated − spliced) / (ablated − clean)", "share"),
        ("Loss, clean", "clean", f"{first['objective']} cross-entropy, nats, over {first['targets']:,} tokens", "nats"),
        ("Loss, spliced", "spliced", "with reconstructions in place of the states", "nats"),
        ("Loss, ablated", "ablated", f"with {place} in place of the states", "nats"),
    ]
    return "".join(
        _row(title, meaning, [_figure(loss[name], kind) for loss in found]) for title, name, meaning, kind in rows
    )


def _no_loss(report: Report) -> str:
    return f'<p class="note">No loss recovered: {escape(report["no_loss"])}.</p>' if report["no_loss"] else ""


def _row(title: str, meaning: str, cells: Iterable[str]) -> str:
    figures = "".join(f'<td class="figure">{cell}</td>' for cell in cells)
    return f'<tr><th scope="row">{title}</th>{figures}<td class="meaning">{meaning}</td></tr>\n'


def _figure(value: float | None, kind: str) -> str:
    if value is None:
        return "–"
    if kind == "percent":
        return f"{100 * value:.2f} %"
    return f"{value:,.1f}" if kind == "count" else f"{value:.4f}"


def _pictures(title: str, pictures: Sequence[str], note: str) -> str:
    if not pictures:
        return ""
    figures = "".join(f"<figure>{picture}</figure>" for picture in pictures)
    told = f'<p class="note">{note}</p>' if note else ""
    return f'<section><h2>{title}</h2>{told}<div class="pictures">{figures}</div></section>'


def _examples(report: Report) -> str:
    blocks = "".join(_example(latent) for latent in report["examples"])
    if not blocks:
        return ""
    note = "Living latents, drawn at random, with the strongest firing of each in different texts."
    return f'<section><h2>Latents and where they fire</h2><p class="note">{note}</p>{blocks}</section>'


def _example(latent: Mapping[str, Any]) -> str:
    lines = "".join(
        f'<li><span class="activation">{context["activation"]:.2f}</span>'
        f"<span>{escape(context['before'])}<mark>{escape(context['token'])}</mark>{escape(context['after'])}</span></li>"
        for context in latent["contexts"]
    )
    return (
        f'<article><h3>{latent["latent"]}</h3><p class="facts">fires on {_percent(latent["density"])} of the tokens, '
        f"mean activation {latent['mean_activation']:.2f}</p><ul>{lines}</ul></article>"
    )


def _densest(report: Report) -> str:
    rows = "".join(
        f'<tr><th scope="row">{latent["latent"]}</th><td class="figure">{_percent(latent["density"])}</td>'
        f'<td class="figure">{latent["mean_activation"]:.2f}</td>'
        f"<td>{_marked(latent['contexts'])}</td></tr>\n"
        for latent in report["densest"]
    )
    if not rows:
        return ""
    return f"""<section><h2>The densest latents</h2>
<table><thead><tr><th>latent</th><th>density</th><th>mean activation</th><th>strongest tokens</th></tr></thead>
<tbody>{rows}</tbody></table></section>"""


def _origin(report: Report) -> str:
    saes = [{name: value for name, value in sae.items() if name not in _DRAWN} for sae in report["saes"]]
    facts = {"saes": saes, **{name: report[name] for name in ("backbone", "texts", "settings", "versions")}}
    command = f"<pre>{escape(report['command'])}</pre>" if report["command"] else ""
    return f"""<section><h2>How it was made</h2>
{command}<details><summary>SAE, settings and versions</summary>
<pre>{escape(json.dumps(facts, indent=2, ensure_ascii=False))}</pre></details></section>"""


def _marked(contexts: Iterable[Mapping[str, Any]]) -> str:
    return " ".join(f"<mark>{escape(context['token'])}</mark>" for context in contexts)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


_DRAWN = ("density_histogram", "l0_histogram", "cosine_histogram", "error_histogram", "training", "metrics", "loss")
_DENSITY_NOTE = "Latents that never fired on these texts are not in the first picture; more texts may wake some."
_METRICS = (
    (
        "fvu",
        "Variance unexplained (FVU)",
        "squared error over squared distance from the mean state; 0 is best",
        "share",
    ),
    ("cosine", "Cosine", "of state and reconstruction, mean over tokens", "share"),
    ("norm_ratio", "Norm ratio", "length of the reconstruction over that of the state, mean", "share"),
    ("reconstruction_bias", "Reconstruction bias", "factor by which reconstructions are too long; 1 is none", "share"),
    ("dead_share", "Dead", "latents that never fired on these texts", "percent"),
    ("dense_share", "Dense", "latents that fire on more than {dense_above:.0%} of the tokens", "percent"),
    ("l0", "L0", "latents that fire per token, mean", "count"),
)
_STYLE = """
article { margin: 0 0 1.2rem; }
article h3, .facts { display: inline-block; margin-right: .8rem; }
article ul { list-style: none; margin: 0; padding: 0; }
article li { display: grid; grid-template-columns: 4rem 1fr; gap: .6rem; padding: .12rem 0; overflow-wrap: anywhere; }
.activation { text-align: right; color: var(--soft); font-variant-numeric: tabular-nums; }
"""
