"""Table and plot of a study that is measured.

python -m studies.sae.report runs/study/study.json --output docs/images
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from saelex.files import write_text

FIELDS = ("layer", "width", "k")


def write_report(study_path: Path, folder: Path) -> None:
    """Writes `table.md`, `study.svg` and `study.png` into the folder."""
    study = json.loads(study_path.read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "table.md", (f"{line}\n" for line in [*run_table(study), "", *collection_table(study)]))
    draw(study, folder)


def run_table(study: dict[str, Any]) -> Iterator[str]:
    """Every run with all its numbers of latents per token; a stage's winner, at its better one, in bold."""
    yield (
        "| stage | layer | width | k | folder, MB | FVU | L0 | dead | tokens/s "
        "| k at inference | active, query / passage | concepts | + words |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    for stage in FIELDS:
        for run in _stage_runs(study, stage):
            won = _choice(run) == [study["winners"][stage][name] for name in FIELDS]
            for place, one in enumerate(run["retrieval"]):
                cells = (
                    [
                        stage,
                        *map(str, _choice(run)),
                        f"{run['folder_mb']:.1f}",
                        f"{run['fvu']:.3f}",
                        f"{run['l0']:.1f}",
                        f"{run['dead_share']:.1%}",
                        f"{run['train_tokens_per_s']:,}",
                    ]
                    if place == 0
                    else [""] * 9
                )
                concepts = f"{one['concepts']['mean']:.4f}"
                cells += [
                    str(one["k"]),
                    f"{one['active_query']:.0f} / {one['active_document']:.0f}",
                    f"**{concepts}**" if won and one is _best(run) else concepts,
                    f"{one['with_words']['mean']:.4f}",
                ]
                yield f"| {' | '.join(cells)} |"


def collection_table(study: dict[str, Any]) -> Iterator[str]:
    """nDCG@10 of each collection: the baselines, and each stage's winner with and without words."""
    names = list(study["baselines"]["bm25"])
    yield f"| nDCG@10 | {' | '.join(names)} |"
    yield f"|---|{'---|' * len(names)}"
    rows = [
        ("BM25, words", study["baselines"]["bm25"]),
        (f"dense, {Path(study['model']).name}", study["baselines"]["dense"]),
    ]
    for stage in FIELDS:
        choice = [study["winners"][stage][name] for name in FIELDS]
        best = _best(next(run for run in study["runs"] if _choice(run) == choice))
        title = "layer {}, width {:,}, k {} ({} at inference)".format(*choice, best["k"])
        entries = [(f"concepts: {title}", best["concepts"]), (f"concepts + words: {title}", best["with_words"])]
        rows += [entry for entry in entries if entry not in rows]
    for title, figures in rows:
        yield f"| {title} | {' | '.join(f'{figures[name]:.4f}' for name in names)} |"


def draw(study: dict[str, Any], folder: Path) -> None:
    """Three panels, a stage each: nDCG@10 on the left axis, fraction of variance unexplained on the right."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams.update({"font.size": 9, "svg.hashsalt": "saelex"})
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.4), sharey=True, layout="constrained")
    loss_panels = [panel.twinx() for panel in panels]
    most = max(run["fvu"] for run in study["runs"])
    for place, (stage, panel, loss) in enumerate(zip(FIELDS, panels, loss_panels)):
        runs = sorted(_stage_runs(study, stage), key=lambda run: int(run[stage]))
        ticks = [f"{run[stage]:,}" for run in runs]
        where = range(len(runs))
        loss.bar(where, [run["fvu"] for run in runs], width=0.5, color="#d9d9d9", zorder=0)
        loss.set_ylim(0, 1.5 * most)
        loss.set_ylabel("FVU on held-out texts (bars)" if place == 2 else "")
        panel.set_zorder(loss.get_zorder() + 1)
        panel.patch.set_visible(False)
        panel.plot(where, [_best(run)["concepts"]["mean"] for run in runs], "o-", color="#1f5fa8", label="concepts")
        panel.plot(where, [_best(run)["with_words"]["mean"] for run in runs], "s-", color="#2a8c4a", label="+ words")
        for (name, figures), style in zip(study["baselines"].items(), (":", "--")):
            label = {"bm25": "BM25 over words", "dense": "dense backbone"}[name]
            panel.axhline(figures["mean"], color="#777777", linestyle=style, linewidth=1, label=label)
        chosen = [run[stage] for run in runs].index(study["winners"][stage][stage])
        panel.axvline(chosen, color="#c0392b", linewidth=1, alpha=0.5)
        panel.set_xticks(where, ticks)
        panel.set_xlabel(stage)
        fixed = [f"{name} {runs[0][name]:,}" for name in FIELDS if name != stage]
        panel.set_title(", ".join(fixed), fontsize=9)
    panels[0].set_ylabel("nDCG@10, mean of the development splits")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(folder / "study.svg", metadata={"Date": None})
    figure.savefig(folder / "study.png", dpi=150)
    plt.close(figure)


def _stage_runs(study: dict[str, Any], stage: str) -> list[dict[str, Any]]:
    return [run for choice in study["stages"][stage] for run in study["runs"] if _choice(run) == choice]


def _choice(run: dict[str, Any]) -> list[int]:
    return [run[name] for name in FIELDS]


def _best(run: dict[str, Any]) -> dict[str, Any]:
    best: dict[str, Any] = max(run["retrieval"], key=lambda one: one["concepts"]["mean"])
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("study", type=Path, help="study.json of a finished study")
    parser.add_argument("--output", type=Path, required=True, help="folder for table and plot")
    arguments = parser.parse_args()
    write_report(arguments.study, arguments.output)


if __name__ == "__main__":
    main()
