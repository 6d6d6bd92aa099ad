from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.cli.conftest import Saelex

from saelex.sae.activations import TopK
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.config import SaeConfig


def test_list_of_suites(saelex: Saelex) -> None:
    result = saelex("sae", "list", "--model", "llama-3.1-8b")
    assert result.code == 0, result.err
    head, *rows = result.out.splitlines()
    assert head.split() == ["SUITE", "MODEL", "LAYERS", "WIDTHS", "SAES", "FOR", "EXAMPLE"]
    assert [row.split()[0] for row in rows] == [
        "llama-scope",
        "sparsify/llama-3.1-8b-64x",
        "goodfire-llama-3.1-8b-instruct",
        "llama-3.1-8b-instruct-andyrdt",
    ]
    # layer 20 is the one nearest to two thirds of 32 blocks: 21 have run
    assert rows[0].split()[1:] == ["meta-llama/Llama-3.1-8B", "0-31", "32k", "131k", "64", "llama-scope/l20r-8x"]
    suite = json.loads(saelex("sae", "list", "-m", "gemma-2-9b-it", "--json").out)[0]
    assert (suite["name"], suite["layers"], suite["widths"]) == ("gemma-scope/9b-it", [9, 20, 31], ["16k", "131k"])
    assert (suite["saes"], suite["licence"], suite["example"]) == (30, "cc-by-4.0", "gemma-scope/9b-it/31/16k/76")


def test_list_of_saes(saelex: Saelex) -> None:
    rows = saelex("sae", "list", "--model", "gemma-2-2b", "--layer", "16").out.splitlines()
    row = next(row.split() for row in rows if row.startswith("gemma-scope/2b/16/65k/128"))
    assert row[1:4] == ["google/gemma-2-2b", "65,536", "128"]
    assert row[4:] == ["0.30", "GB", "3.83", "GB", "4.13", "GB"]
    entries = json.loads(saelex("sae", "list", "--model", "gemma-2-2b", "--layer", "16", "--json").out)
    assert len(entries) == len(rows) - 1
    assert {entry["layer"] for entry in entries} == {16}


def test_small_pairs_fit(saelex: Saelex) -> None:
    entries = json.loads(saelex("sae", "list", "--small", "--json").out)
    assert all(entry["head_bytes"]["bfloat16"] + entry["backbone_bytes"]["bfloat16"] <= 8e9 for entry in entries)
    ids = {entry["id"] for entry in entries}
    assert {"gemma-scope-2/270m-pt/12/65k/medium", "gemma-scope-2/1b-pt/17/65k/medium"} <= ids
    assert {"qwen-scope/qwen3-1.7b/18/32k/100", "gemma-scope/2b/16/65k/128"} <= ids
    assert not any("llama-3.1" in entry["model"].lower() for entry in entries)
    at_layer = json.loads(saelex("sae", "list", "--small", "--layer", "3", "-m", "llama-3.1", "--json").out)
    assert "llama-scope/l3r-32x" in {entry["id"] for entry in at_layer}  # so few blocks do fit


def test_info_of_a_published_sae(saelex: Saelex) -> None:
    shown = saelex("sae", "info", "gemma-scope/2b/16/65k")
    assert shown.code == 0, shown.err
    lines = [line.strip() for line in shown.out.splitlines()]
    assert lines[0] == "gemma-scope/2b/16/65k/128"
    for line in (
        "model       google/gemma-2-2b",
        "reads       output of block 16: blocks.16.hook_resid_post, hidden_states[17]",
        "shapes      2,304 dimensions -> 65,536 latents",
        "gate        jumprelu, 128 active latents per token",
        "file size   1.21 GB",
        "float32     0.60 GB as a head + 7.65 GB backbone = 8.26 GB",
        "licence     cc-by-4.0",
        "Neuronpedia https://www.neuronpedia.org/gemma-2-2b/16-gemmascope-res-65k",
        'Python      Encoder.from_sae("google/gemma-2-2b", sae="gemma-scope/2b/16/65k/128")',
    ):
        assert line in lines
    facts = json.loads(
        saelex("sae", "info", "google/gemma-scope-2b-pt-res/layer_16/width_65k/average_l0_128", "--json").out
    )
    assert (facts["id"], facts["d_model"], facts["head_bytes"]["bfloat16"]) == (lines[0], 2304, 302_514_176)


def test_info_of_a_backbone_that_is_not_read(saelex: Saelex) -> None:
    shown = saelex("sae", "info", "qwen-scope/qwen3.5-2b/16/32k/50").out
    assert 'SparseAutoencoder.load("qwen-scope/qwen3.5-2b/16/32k/50")' in shown
    assert "backbone =" not in shown and "the size of Qwen/Qwen3.5-2B-Base is not known" in shown


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An SAE of one's own, on Gemma 3 270M."""
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(640, 1024, generator=generator)
    config = SaeConfig(640, 1024, model_name="google/gemma-3-270m", layer=3, hook_name="blocks.3.hook_resid_post")
    sae = SparseAutoencoder(
        W, torch.zeros(1024), W.T.contiguous(), torch.zeros(640), TopK(8), config, apply_b_dec_to_input=True
    )
    sae.save(tmp_path / "mine")
    return tmp_path / "mine"


def test_info_of_a_folder(saelex: Saelex, folder: Path) -> None:
    facts = json.loads(saelex("sae", "info", folder, "--json").out)
    assert (facts["model"], facts["layer"], facts["gate"], facts["l0"]) == ("google/gemma-3-270m", 3, "topk", 8)
    assert (facts["d_model"], facts["n_latents"]) == (640, 1024)
    assert facts["scale"] == "states as they are, less b_dec"
    assert facts["file_bytes"] == sum(file.stat().st_size for file in folder.iterdir())
    assert facts["head_bytes"]["float16"] == 1024 * (640 * 2 + 4)
    # 262,144 x 640 of embedding; 4 blocks of 4 x 256 query, 256 key and value dimensions, an MLP of 2,048, norms
    block = 640 * (2 * 1024 + 2 * 256) + 3 * 640 * 2048 + 4 * 640 + 2 * 256
    assert facts["backbone_bytes"]["float32"] == 4 * (262_144 * 640 + 4 * block)
    shown = saelex("sae", "info", folder).out
    assert f'Encoder.from_sae("google/gemma-3-270m", sae="{folder}")' in shown
    assert "hidden_states[4]" in shown


def test_info_of_an_sae_of_the_masked_lm_transform(saelex: Saelex, folder: Path) -> None:
    config = json.loads((folder / "cfg.json").read_text())
    config["metadata"] |= {"model_name": "google-bert/bert-base-uncased", "hook_name": "mlm_transform"}
    (folder / "cfg.json").write_text(json.dumps(config))
    shown = saelex("sae", "info", folder).out
    assert "reads       output of the model's masked-LM transform: mlm_transform" in shown
    assert f'Encoder.from_sae("google-bert/bert-base-uncased", sae="{folder}")' in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["info", "gemma-scope/2b/16/65k/129"], "did you mean gemma-scope/2b/16/65k/128"),
        (["info", "no/such/thing/here"], "`saelex sae list` shows what it knows"),
        (["info", "google/gemma-scope-2b-pt-res"], "name one, such as gemma-scope/2b/"),
        (["list", "--model", "gpt-9"], "it knows google/gemma-2-2b"),
        (["list", "--model", "gemma-2-27b", "--layer", "3"], "only for 10, 22, 34"),
    ],
)
def test_errors(saelex: Saelex, arguments: list[str], said: str) -> None:
    result = saelex("sae", *arguments)
    assert result.code == 2 and said in result.err
    assert len(result.err.splitlines()) == 1
