"""The study of the default's SAE, from recipe to table, at toy size."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.recipes.world import World
from tests.studies.claims.toy_study import sentence_model

from studies import states
from studies.sae.__main__ import main


def refused(*_: object, **__: object) -> None:
    raise AssertionError("trained again")


def test_stages_are_run_once_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, output = World(tmp_path), tmp_path / "out"
    settings = [
        f"sae.model={sentence_model(tmp_path / 'hub' / 'six-blocks')}", f"sae.data.corpora=[{world.corpus()}]",
        "sae.data.max_texts=48", "sae.training.tokens=256", "sae.training.batch_tokens=128",
        "sae.training.warmup_steps=1", "sae.training.log_steps=1", "sae.training.n_latents=64", "sae.training.k=4",
        f"collections=[{world.beir()}:train]", "layers=[5, 4]", "widths=[64, 128]", "ks=[4]", "heldout_texts=16",
        "max_queries=10", "max_documents=20",
    ]  # fmt: skip
    sets = [part for setting in settings for part in ("--set", setting)]
    monkeypatch.setenv("SAELEX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["studies.sae", "recipes/study/sae_minilm.yaml", "--output", str(output), *sets])
    main()
    first = json.loads((output / "study.json").read_text())
    monkeypatch.setattr(states, "train_sae", refused)
    main()
    assert json.loads((output / "study.json").read_text()) == first

    assert first["stages"]["layer"] == [[5, 64, 4], [4, 64, 4]]
    layer = first["winners"]["layer"]["layer"]
    assert first["stages"]["width"] == [[layer, 64, 4], [layer, 128, 4]]
    assert len(first["runs"]) == 3
    for run in first["runs"]:
        assert [one["k"] for one in run["retrieval"]] == [4, 2]
        assert 0 < run["l0"] <= 4
        assert all(0 <= one["concepts"]["mean"] <= 1 for one in run["retrieval"])
    table = (output / "table.md").read_text()
    assert "| BM25, words |" in table
    assert "| dense, six-blocks |" in table
    assert (output / "study.svg").stat().st_size > 1000
