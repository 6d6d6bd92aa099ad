"""Which SAE the embedded default is made of: trains, measures, chooses.

    python -m studies.sae recipes/study/sae_minilm.yaml --output runs/study \\
        --set sae.data.corpora='[squad-dev, medquad, ...]' --set sae.data.exclude='[xquad/en]' \\
        --set collections='[squad-dev:train70, fairytaleqa:dev, tldr:dev, nl2bash:dev]'

Writes study.json, table.md, study.svg and study.png; what is done is not done again. studies/sae/study.py says what is
measured, and the rule of choice.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from saelex.evaluation.provenance import PACKAGES, machine, versions
from saelex.files import write_text
from saelex.recipe import load_recipe
from studies.sae.report import write_report
from studies.sae.study import Choice, Study, StudyRecipe, stages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs; goes on where it stopped")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the recipe")
    arguments = parser.parse_args()
    recipe = load_recipe(StudyRecipe, arguments.recipe, arguments.set)
    study = Study(recipe, arguments.output)
    winners = stages(recipe, study.stage)
    content = {
        "model": recipe.sae.model,
        "winners": dict(zip(("layer", "width", "k"), (winner._asdict() for winner in winners))),
        "tie": recipe.tie,
        "folder_limit_mb": recipe.folder_limit_mb,
        "stages": {
            "layer": [Choice(layer, recipe.sae.training.n_latents, recipe.sae.training.k) for layer in recipe.layers],
            "width": [winners[0]._replace(width=width) for width in recipe.widths],
            "k": [winners[1]._replace(k=k) for k in recipe.ks],
        },
        "baselines": study.baselines(),
        "runs": list(study.runs.values()),
        "machine": machine(),
        "versions": versions(PACKAGES),
    }
    write_text(arguments.output / "study.json", json.dumps(content, indent=2))
    write_report(arguments.output / "study.json", arguments.output)


if __name__ == "__main__":
    main()
