from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Saelex
from tests.encoder.tiny_models import TEXTS, tiny_checkpoint


def test_settings(saelex: Saelex) -> None:
    shown = saelex("mntp", "--settings")
    assert shown.code == 0, shown.err
    assert "mask.share = 0.2  (float)" in shown.out
    assert "training.head_learning_rate = None  (float | None)" in shown.out


def test_a_recipe_adapts_a_model(saelex: Saelex, tmp_path: Path) -> None:
    model = tiny_checkpoint("qwen3", tmp_path / "qwen3", language_model=True)
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"_id": str(i), "text": text}) + "\n" for i, text in enumerate(TEXTS * 4)))
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(
        f"model: {model}\ndata: {{corpora: [{corpus}]}}\ntraining: {{steps: 9, learning_rate: 1e-2, device: cpu}}\n"
    )
    result = saelex("mntp", recipe, "-o", tmp_path / "out", "--set", "training.steps=3", "--set", "lora.rank=4")
    assert result.code == 0, result.err
    first, second = result.out.splitlines()
    assert first == f"{tmp_path / 'out'}: qwen3 after 3 steps of masked next-token prediction"
    facts = json.loads((tmp_path / "out" / "saelex_mntp.json").read_text())
    heldout = facts["heldout"]
    assert f"of 2 held-out texts: loss {heldout['before']['loss']:.3f} -> {heldout['after']['loss']:.3f}" in second
    assert facts["recipe"]["lora"]["rank"] == 4
    again = saelex("mntp", recipe, "-o", tmp_path / "out")
    assert again.code == 2
    assert "exists already" in again.err


def test_mistakes(saelex: Saelex, tmp_path: Path) -> None:
    assert "name a recipe" in saelex("mntp").err
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text("model: x\nmasking: 0.2\n")
    result = saelex("mntp", recipe)
    assert result.code == 2
    assert "unknown setting 'masking'; did you mean 'mask" in result.err
