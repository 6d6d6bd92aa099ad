"""The study of the papers' claims at toy size: its own recipes, runs and SAEs, on the toy world of the recipe tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml
from tests.encoder.tiny_models import tiny_model
from tests.recipes.world import World, word_tokenizer
from tests.studies.claims.made_study import RECIPE

LANGUAGE = "de"


def toy_study(world: World) -> Path:
    """The shipped recipes with paths of the toy world, two steps of training, and 20 queries a collection."""
    model = str(sentence_model(world.root / "hub" / "six-blocks"))
    folder = world.root / "study"
    folder.mkdir()
    study = _read(RECIPE)
    study["sae"] |= {"model": model, "data": {"corpora": [str(world.corpus())]}}
    study["sae"]["states"] |= {"max_length": 16}
    study["sae"]["training"] |= {"tokens": 256, "batch_tokens": 128, "warmup_steps": 1, "log_steps": 1}
    study |= {
        "in_domain": [f"{world.beir()}:train"],
        "out_of_domain": [f"{world.beir('fr', 'fr')}:train"],
        "queries": 20,
        "documents": 30,
        "translations": str(_translations(world)),
        "languages": [LANGUAGE],
    }
    _write(folder / RECIPE.name, study)
    for name in ("latents.yaml", "vocabulary.yaml"):
        recipe = _read(RECIPE.with_name(name))
        recipe["model"]["backbone"] = model
        if "start_active" in recipe["model"]:
            recipe["model"]["start_active"] = 40  # of 300 words
        source = {"path": str(world.beir()), "kind": "beir", "negatives": str(world.scored)}
        recipe["data"]["sources"] = [source]
        recipe["sparsity"]["ramp_steps"] = 1
        recipe["training"] |= {"batch_queries": 8, "max_document_length": 16, "max_steps": 2, "log_every": 1}
        _write(folder / name, recipe)
    return folder / RECIPE.name


def sentence_model(folder: Path) -> Path:
    """A tiny BERT of MiniLM's depth with its masked-LM head, in a sentence-transformers folder of mean pooling."""
    tokenizer = word_tokenizer("bert")
    tokenizer.save_pretrained(folder)
    sizes = {"num_hidden_layers": 6, "initializer_range": 0.05}  # see World.backbone
    tiny_model("bert", tokenizer, language_model=True, **sizes).save_pretrained(folder)
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")])
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return folder


def _translations(world: World) -> Path:
    folder = world.root / "translations"
    for language in ("en", LANGUAGE):
        shutil.copytree(world.beir("en", language), folder / language)
        qrels = folder / language / "qrels"
        (qrels / "train.tsv").rename(qrels / "test.tsv")
    return folder


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
