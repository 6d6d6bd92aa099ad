from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Saelex


def test_concepts_of_a_text_and_one_of_them(saelex: Saelex, index: Path, tmp_path: Path) -> None:
    fired = json.loads(saelex("concepts", index, "zip archive", "--json").out)["concepts"]
    assert fired and set(fired[0]) == {"latent", "label", "weight", "words", "context", "density"}
    latent = fired[0]["latent"]
    lines = saelex("concepts", index, "zip archive").out.splitlines()
    assert len(lines) == len(fired) and f"#{latent}" in lines[0]
    view = json.loads(saelex("concept", index, f"#{latent}", "--json").out)
    assert view["latent"] == latent and view["neighbours"]
    shown = saelex("concept", index, latent).out
    assert shown.startswith(f"#{latent}  ") and "near it" in shown
    assert saelex("concept", index, "999999999").err.count("\n") == 1


def test_labels_are_exported_edited_and_imported(saelex: Saelex, index: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    saelex("label", index, "--no-judge")
    assert "labels\n" in saelex("label", index, "--export", file).out
    lines = file.read_text().splitlines()
    record = json.loads(lines[1])
    lines[1] = json.dumps({"latent": record["latent"], "label": "My Label"})
    file.write_text("\n".join(lines) + "\n")
    saelex("label", index, "--import", file)
    assert "My Label (named by a user)" in saelex("concept", index, "my label").out
    assert "two runs" in saelex("label", index, "--import", file, "--export", file).err
