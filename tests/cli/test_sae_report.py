import json
from pathlib import Path

import pytest
import torch
from tests.encoder.tiny_models import D_MODEL, tiny_checkpoint

from saelex.sae.activations import TopK
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.config import SaeConfig

N_LATENTS = 40


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_checkpoint("bert", tmp_path_factory.mktemp("models") / "tiny-bert", language_model=True)


@pytest.fixture
def source(bert, tmp_path):
    """The folder of a random SAE on the tiny model, with a training log."""
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(D_MODEL, N_LATENTS, generator=generator) / 6
    metadata = {"states": {"max_length": 8, "mask_special_tokens": True, "cache": "disk"}, "bidirectional": True}
    config = SaeConfig(D_MODEL, N_LATENTS, str(bert), 1, "blocks.1.hook_resid_post", metadata=metadata)
    zeros = torch.zeros(N_LATENTS), torch.zeros(D_MODEL)
    SparseAutoencoder(W, zeros[0], W.T.clone(), zeros[1], TopK(3), config).save(tmp_path / "sae")
    (tmp_path / "sae" / "metrics.jsonl").write_text('{"step": 1, "tokens": 10, "fvu": 0.5}\n')
    return tmp_path / "sae"


def test_report_writes_a_page_and_says_what_it_found(saelex, source, corpus, tmp_path):
    result = saelex("sae", "report", source, "--texts", corpus, "--output", tmp_path / "out", "--max-texts", 3)
    assert result.code == 0, result.err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    found = report["saes"][0]
    assert report["texts"]["texts"] == 3 and report["texts"]["corpora"] == ["tiny"]
    assert report["settings"]["states"]["max_length"] == 8  # as in training
    assert report["command"].startswith("saelex sae report ") and "--max-texts 3" in report["command"]
    assert found["loss"]["objective"] == "masked token" and found["training"][0]["fvu"] == 0.5
    first, last = result.out.splitlines()
    assert first.startswith(f"sae: FVU {found['metrics']['fvu']:.4f}") and "loss recovered" in first
    assert last == str(tmp_path / "out" / "index.html") and Path(last).is_file()


def test_report_against_another_and_without_loss(saelex, source, corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = saelex(
        "sae", "report", source, "--texts", corpus, "--against", source, "--no-loss", "--max-length", 5
    )  # fmt: skip
    assert result.code == 0, result.err
    report = json.loads((tmp_path / "runs" / "sae-report" / "report.json").read_text())
    assert report["settings"]["states"]["max_length"] == 5
    assert [sae["loss"] for sae in report["saes"]] == [None, None]
    assert report["saes"][0]["metrics"] == report["saes"][1]["metrics"]
    assert len(result.out.splitlines()) == 3


def test_what_cannot_be_reported_is_one_line(saelex, source, corpus, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("x")
    for arguments, message in (
        ((source, "--texts", corpus, "--output", tmp_path / "taken"), "is no report"),
        ((source, "--texts", tmp_path / "nothing.jsonl"), "nothing.jsonl"),
        ((tmp_path / "nowhere", "--texts", corpus), "nowhere"),
        ((source, "--texts", corpus, "--layer", 2), "block 1"),
    ):
        result = saelex("sae", "report", *arguments)
        assert result.code == 2 and message in result.err and result.err.count("\n") == 1


def test_export_casts_and_writes_a_card(saelex, source, tmp_path):
    result = saelex(
        "sae", "export", source, tmp_path / "out", "--dtype", "float16", "--name", "me/sae", "--licence", "mit"
    )  # fmt: skip
    assert result.code == 0, result.err
    assert result.out == f"{tmp_path / 'out'}: 40 latents, float16\n"
    exported, own = SparseAutoencoder.load(tmp_path / "out"), SparseAutoencoder.load(source)
    assert torch.equal(exported.W_enc, own.W_enc.half())
    card = (tmp_path / "out" / "README.md").read_text()
    assert "license: mit" in card and 'load("me/sae")' in card and "| Fraction of variance unexplained | 0.5 |" in card
    again = saelex("sae", "export", source, source)
    assert again.code == 2 and "no exported SAE" in again.err


def test_push_takes_the_folders_own_card(saelex, source, tmp_path, monkeypatch):
    calls = []

    class Hub:
        def __init__(self, token):
            assert token is None

        def create_repo(self, repo, **options):
            calls.append((repo, options))

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            calls.append(sorted(path.name for path in Path(folder_path).iterdir()))
            calls.append((Path(folder_path) / "README.md").read_text())
            return f"https://hub/{repo_id}/commit/1"

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    result = saelex("sae", "push", source, "me/sae", "--private")
    assert (result.code, result.out) == (0, "https://hub/me/sae/commit/1\n"), result.err
    created, files, card = calls
    assert created == ("me/sae", {"private": True, "exist_ok": True})
    assert files == ["README.md", "cfg.json", "sae_weights.safetensors"]
    assert 'SparseAutoencoder.load("me/sae")' in card and "0.5" in card
    (source / "README.md").write_text("my own words")
    assert saelex("sae", "push", source, "me/sae").code == 0
    assert calls[3:] == [("me/sae", {"private": False, "exist_ok": True}), files, "my own words"]
