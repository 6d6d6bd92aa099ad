from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.encoder.tiny_encoders import random_head, tiny_encoder
from tests.encoder.tiny_models import TEXTS, tiny_checkpoint

from saelex import files
from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.packaged import MINILM, locate
from saelex.encoder.encoder import Encoder
from saelex.encoder.files.folder import embedded_folder, resolve
from saelex.encoder.settings import EncoderSettings
from saelex.encoder.weighting import LatentWeighting
from saelex.errors import InputError, MismatchError
from saelex.loading import Loading
from saelex.sae.activations import JumpReLU, ReLU, TopK


def assert_same_encoder(ours: Encoder, theirs: Encoder) -> None:
    assert ours.fingerprint == theirs.fingerprint
    assert ours.settings == theirs.settings
    for side in ("query", "document"):
        a, b = ours.encode(TEXTS, side=side), theirs.encode(TEXTS, side=side)
        np.testing.assert_array_equal(a.latents, b.latents)
        np.testing.assert_array_equal(a.weights, b.weights)
        np.testing.assert_array_equal(a.positions, b.positions)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    encoder = tiny_encoder(tmp_path_factory.mktemp("checkpoint"), sink_norm=50.0)
    encoder.weighting = LatentWeighting.fit([encoder.encode_document(TEXTS, top_k=None)])
    encoder.labels = {4: "wings | lift"}
    encoder.description = {"licence": "apache-2.0", "training_data": "seven sentences"}
    return encoder


@pytest.fixture
def saved(encoder: Encoder, tmp_path: Path) -> Path:
    encoder.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_save_and_load_give_the_same_encoder(encoder: Encoder, saved: Path) -> None:
    again = Encoder.load(saved, device="cpu")
    assert_same_encoder(again, encoder)
    assert again.labels == encoder.labels
    assert again.name == str(saved)
    assert sorted(path.name for path in saved.iterdir()) == [
        "README.md", "backbone", "config_sentence_transformers.json", "head.safetensors", "labels.json",
        "modules.json", "probes.safetensors", "saelex_config.json", "weighting.safetensors",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {"activation": ReLU(), "pooling": "sum", "saturation": "sqrt"},
        {"activation": TopK(5), "alpha": 0.3},
        {"activation": JumpReLU(torch.tensor([0.4])), "scale": torch.full((96,), 2.0)},
        {"activation": ReLU(), "softcap": 3.0, "saturation": "none"},
    ],
)
def test_every_kind_of_head_is_kept(options: dict[str, Any], encoder: Encoder, tmp_path: Path) -> None:
    head = random_head(encoder.backbone.d_model, **options)
    ours = Encoder(encoder.backbone, head)
    ours.save_pretrained(tmp_path / "model")
    again = Encoder.load(tmp_path / "model", device="cpu")
    assert_same_encoder(again, ours)
    assert repr(again.head) == repr(head)


@pytest.mark.parametrize("model_type", ["bert", "modernbert", "gemma2"])
def test_vocabulary_heads_are_kept_with_their_transform(model_type: str, tmp_path: Path) -> None:
    ours = Encoder.from_vocabulary(tiny_checkpoint(model_type, tmp_path / "lm", language_model=True))
    ours.save_pretrained(tmp_path / "model")
    shutil.rmtree(tmp_path / "lm")
    assert_same_encoder(Encoder.load(tmp_path / "model", device="cpu"), ours)


def test_float16_on_disk_is_computed_in_float32(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path / "half", weight_dtype=torch.float16)
    encoder.save_pretrained(tmp_path / "full")
    half = Encoder.load(tmp_path / "half", device="cpu")
    assert half.head.weight.dtype == torch.float32
    torch.testing.assert_close(half.head.weight, encoder.head.weight.half().float(), rtol=0, atol=0)
    assert half.fingerprint != encoder.fingerprint  # other values, other vectors
    assert half.fingerprint in (tmp_path / "half" / "README.md").read_text()
    sizes = [(tmp_path / name / "head.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[1] - sizes[0] == 2 * encoder.head.weight.numel()
    half.save_pretrained(tmp_path / "again", weight_dtype=torch.float16)
    assert Encoder.load(tmp_path / "again", device="cpu").fingerprint == half.fingerprint


def test_fingerprint_changes_with_all_that_changes_a_vector_and_not_with_top_k(
    encoder: Encoder, tmp_path: Path
) -> None:
    seen = {encoder.fingerprint}

    def is_new(other: Encoder) -> bool:
        new = other.fingerprint not in seen
        seen.add(other.fingerprint)
        return new

    def changed(**parts: Any) -> Encoder:
        kept = {"settings": encoder.settings, "weighting": encoder.weighting} | parts
        return Encoder(kept.pop("backbone", encoder.backbone), kept.pop("head", encoder.head), **kept)

    assert not is_new(changed(settings=replace(encoder.settings, query_top_k=3, document_top_k=None)))
    assert not is_new(changed(settings=replace(encoder.settings, query_top_k="3+60%", document_top_k="9+80%")))
    assert not is_new(changed(labels={1: "another label"}))
    for name, value in (("query_prompt", "q"), ("max_document_length", 9), ("pool_prompt", False), ("sink_norm", 9.0)):
        assert is_new(changed(settings=replace(encoder.settings, **{name: value}))), name
    assert is_new(changed(weighting=None))
    assert encoder.weighting is not None
    statistics = replace(encoder.weighting, settings=replace(encoder.weighting.settings, b=0.1))
    assert is_new(changed(weighting=statistics))
    assert is_new(changed(head=random_head(32, seed=2)))
    assert is_new(changed(head=random_head(32, pooling="sum")))
    assert is_new(changed(backbone=Backbone.load(encoder.backbone.model_id, layer=1)))


def test_an_exchanged_gate_pooling_or_head_changes_the_fingerprint_of_a_loaded_encoder(saved: Path) -> None:
    encoder = Encoder.load(saved, device="cpu")
    seen = [encoder.fingerprint]
    encoder.head.activation = TopK(5)
    seen.append(encoder.fingerprint)
    encoder.head.activation = TopK(6)
    seen.append(encoder.fingerprint)
    encoder.head.pooling = "sum"
    seen.append(encoder.fingerprint)
    encoder.head.saturation = "sqrt"
    seen.append(encoder.fingerprint)
    encoder.head = random_head(32, TopK(6), seed=3, pooling="sum", saturation="sqrt")
    seen.append(encoder.fingerprint)
    assert len(set(seen)) == len(seen)


def test_trained_weights_have_another_fingerprint_and_are_copied(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "bert")
    before = encoder.fingerprint
    with torch.no_grad():
        encoder.head.weight += 0.1
    trained_head = encoder.fingerprint
    with torch.no_grad():
        next(encoder.backbone.parameters()).mul_(1.1)
    assert len({before, trained_head, encoder.fingerprint}) == 3
    with pytest.raises(InputError, match="include_backbone=True"):
        encoder.save_pretrained(tmp_path / "model", include_backbone=False)
    assert not (tmp_path / "model").exists()
    encoder.save_pretrained(tmp_path / "model")
    again = Encoder.load(tmp_path / "model", device="cpu")
    assert_same_encoder(again, encoder)
    assert not again.backbone_identity.changed()


def test_moving_and_casting_do_not_count_as_training(encoder: Encoder) -> None:
    before = encoder.fingerprint
    encoder.backbone.to("cpu").float()
    assert not encoder.backbone_identity.changed()
    assert encoder.fingerprint == before


def test_a_named_backbone_must_be_the_one_it_was(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "bert")
    encoder.save_pretrained(tmp_path / "model", include_backbone=False)
    assert not (tmp_path / "model" / "backbone").exists()
    assert_same_encoder(Encoder.load(tmp_path / "model", device="cpu"), encoder)
    tiny_checkpoint("bert", tmp_path / "bert", seed=5)
    with pytest.raises(MismatchError, match="not the backbone"):
        Encoder.load(tmp_path / "model")


@pytest.mark.parametrize("name", ["head.safetensors", "weighting.safetensors", "backbone/model.safetensors"])
def test_a_changed_file_is_refused(name: str, saved: Path) -> None:
    content = bytearray((saved / name).read_bytes())
    content[-1] ^= 1
    (saved / name).write_bytes(content)
    with pytest.raises(MismatchError, match="sha256 differs"):
        Encoder.load(saved)
    (saved / name).unlink()
    with pytest.raises(InputError, match="missing"):
        Encoder.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "saelex-encoder/9"}, "format"),
        ({"settings": {"query_top_k": 0}}, "query_top_k"),
        ({"settings": {"query_top_k": "40+0%"}}, r"query_top_k .* as in 40\+80%, or null for all, not '40\+0%'"),
        ({"settings": {"document_top_k": 2.5}}, r"settings.document_top_k is 2.5, not of the type int \| str"),
        ({"settings": {"colour": 1}}, "unknown setting 'settings.colour'"),
        ({"head": {}}, "lacks the setting 'head.sha256'"),
    ],
)
def test_a_malformed_configuration_is_one_clear_error(change: dict[str, Any], message: str, saved: Path) -> None:
    path = saved / "saelex_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        Encoder.load(saved)
    path.write_text("{")
    with pytest.raises(InputError, match="not readable JSON"):
        Encoder.load(saved)


def test_saving_replaces_a_model_and_nothing_else(encoder: Encoder, saved: Path, tmp_path: Path) -> None:
    (saved / "left over").write_text("from an older version")
    encoder.save_pretrained(saved)
    assert not (saved / "left over").exists()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("one")
    with pytest.raises(InputError, match="no saved encoder"):
        encoder.save_pretrained(tmp_path / "thesis")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]


def test_a_failed_save_leaves_the_old_model(
    encoder: Encoder, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Backbone, "save", fail)
    with pytest.raises(OSError, match="no space"):
        encoder.save_pretrained(saved)
    monkeypatch.undo()
    assert_same_encoder(Encoder.load(saved, device="cpu"), encoder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_share_is_kept_in_the_folder_and_told_by_the_card(encoder: Encoder, tmp_path: Path) -> None:
    settings = replace(encoder.settings, query_top_k="3+60%")
    shared = Encoder(encoder.backbone, encoder.head, settings, weighting=encoder.weighting)
    shared.save_pretrained(tmp_path / "model")
    again = Encoder.load(tmp_path / "model", device="cpu")
    assert again.settings == settings and "keeps 3+60% / 20" in repr(again)
    assert_same_encoder(again, shared)
    assert "| Latents kept (query / document) | 3+60% / 20 |" in (tmp_path / "model" / "README.md").read_text()


def test_the_card_tells_what_the_model_is(encoder: Encoder, saved: Path) -> None:
    card = (saved / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: saelex\n")
    assert "license: apache-2.0" in card
    assert encoder.fingerprint in card
    assert "| Latents kept (query / document) | 7 / 20 |" in card
    assert "| Training data | seven sentences |" in card
    assert 'SparseEncoder("model", trust_remote_code=True)' in card


@pytest.mark.parametrize("source", ["no-such-name", "a/b/c", "./nowhere", Path("nowhere/at")])
def test_an_unknown_source_is_refused(source: str | Path) -> None:
    with pytest.raises(InputError, match="no model"):
        Encoder.load(source)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no model"):
        Encoder.load(tmp_path)


def test_push_to_hub_uploads_what_save_writes(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[str, Any] = {}

    class Hub:
        def __init__(self, token: str | None) -> None:
            calls["token"] = token

        def create_repo(self, repo: str, **options: Any) -> None:
            calls["created"] = (repo, options)

        def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> str:
            calls["files"] = {path.name for path in Path(folder_path).iterdir()}
            calls["card"] = (Path(folder_path) / "README.md").read_text()
            return "https://hub/commit/1"

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    assert encoder.push_to_hub("me/model", private=True, token="secret") == "https://hub/commit/1"
    assert calls["token"] == "secret"
    assert calls["created"] == ("me/model", {"private": True, "exist_ok": True})
    assert {"saelex_config.json", "head.safetensors", "modules.json"} <= calls["files"]
    assert 'Encoder.load("me/model")' in calls["card"]


def test_a_hub_repository_is_looked_at_before_it_is_fetched(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    repositories = {"me/model": saved, "meta/llm": tiny_checkpoint("llama", tmp_path / "llm")}

    def download(repo: str, **options: Any) -> str:
        asked.append(options)
        return str(repositories[repo])

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert resolve("me/model", Loading(revision="main", token="secret")) == saved
    assert [options.get("allow_patterns") for options in asked] == [["*.json"], None]
    assert asked[1]["revision"] == "main" and asked[1]["token"] == "secret"
    asked.clear()
    with pytest.raises(InputError, match="from_sae"):
        resolve("meta/llm", Loading())
    assert len(asked) == 1


def test_the_embedded_backbone_is_named_not_copied(tmp_path: Path) -> None:
    try:
        folder = locate(MINILM)
    except InputError:
        pytest.skip("all-MiniLM-L6-v2 is not installed")
    backbone = Backbone.load(MINILM.model_id)
    encoder = Encoder(backbone, random_head(backbone.d_model), EncoderSettings(max_document_length=256))
    encoder.save_pretrained(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "saelex_config.json").read_text())["backbone"]
    assert (config["model"], config["revision"]) == (MINILM.model_id, None)
    assert not (tmp_path / "model" / "backbone").exists()
    assert str(folder) not in json.dumps(config)
    assert_same_encoder(Encoder.load(tmp_path / "model", device="cpu"), encoder)


def test_the_embedded_model_lies_in_the_source_checkout() -> None:
    repository = Path(__file__).resolve().parents[2]
    if not (repository / "models" / "saelex-minilm" / "saelex_config.json").is_file():
        pytest.skip("not trained yet")
    assert embedded_folder("saelex-minilm") == repository / "models" / "saelex-minilm"


# ---- whole, wherever it lies ----------------------------------------------------------------------------------------


def test_a_failing_exchange_leaves_the_old_model(
    encoder: Encoder, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system cannot exchange folders in one step, the second rename may fail, and the first has been done."""
    original = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError("no space left on device")
        return original(self, target)

    monkeypatch.setattr("saelex.files._exchange", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="no space"):
        encoder.save_pretrained(saved)
    monkeypatch.undo()
    assert_same_encoder(Encoder.load(saved, device="cpu"), encoder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_save_that_was_killed_between_its_renames_is_recovered_when_the_model_loads(
    encoder: Encoder, saved: Path
) -> None:
    child = os.fork()
    if not child:
        files._exchange = lambda one, other: False
        original = Path.rename

        def rename(self: Path, target: Path) -> Path:
            if self.name == "new":
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, target)

        Path.rename = rename  # type: ignore[method-assign]
        with files.replacing_folder(saved) as made:
            (made / "saelex_config.json").write_text("{}")
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert not saved.exists()
    assert_same_encoder(Encoder.load(saved, device="cpu"), encoder)


def test_a_model_is_remembered_by_its_whole_path(
    encoder: Encoder, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(saved.parent))
    monkeypatch.chdir(saved.parent)
    for source in ("model", Path("model"), "~/model", Path("~/model"), "./model"):
        again = Encoder.load(source, device="cpu")
        assert Path(again.name).is_absolute() and Path(again.name).samefile(saved)
    encoder.save_pretrained("~/second")
    assert_same_encoder(Encoder.load(saved.parent / "second", device="cpu"), encoder)
    with pytest.raises(InputError, match="include_backbone=True"):  # a cut copy is not what it was copied from
        again.save_pretrained("copy of a copy", include_backbone=False)


def test_a_relative_backbone_is_named_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_checkpoint("bert", tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    backbone = Backbone.load("base", layer=1)
    named = Encoder(backbone, random_head(backbone.d_model))
    named.save_pretrained("named", include_backbone=False)
    monkeypatch.chdir("/")
    assert_same_encoder(Encoder.load(tmp_path / "named", device="cpu"), named)


def test_a_card_does_not_tell_where_a_backbone_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_checkpoint("bert", tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    backbone = Backbone.load("base", layer=1)
    Encoder(backbone, random_head(backbone.d_model)).save_pretrained("model")
    assert str(tmp_path) not in (tmp_path / "model" / "README.md").read_text()
