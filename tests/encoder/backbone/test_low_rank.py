from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.encoder.tiny_encoders import SETTINGS, random_head
from tests.encoder.tiny_models import D_MODEL, TEXTS, tiny_checkpoint
from transformers import AutoTokenizer

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.low_rank import LowRankUpdate
from saelex.encoder.encoder import Encoder
from saelex.errors import InputError, MismatchError

QUERY = "encoder.layer.0.attention.self.query"
TARGETS = {"bert": ["query", "value", "dense"], "llama": ["q_proj", "v_proj", "down_proj"]}


def lora(backbone: Backbone, model_type: str = "bert", adapter: str = "default", **options: Any) -> Any:
    """The backbone's model behind LoRA with random, not zero, updates."""
    import peft

    settings = {"r": 3, "lora_alpha": 7, "target_modules": TARGETS[model_type]} | options
    adapted = peft.get_peft_model(backbone.model, peft.LoraConfig(**settings), adapter_name=adapter)
    randomise(adapted)
    return adapted


def randomise(adapted: Any, seed: int = 0) -> None:
    torch.manual_seed(seed)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)


def random_update(seed: int = 0, rank: int = 2, **options: Any) -> LowRankUpdate:
    generator = torch.Generator().manual_seed(seed)
    factors = {
        f"encoder.layer.{layer}.attention.self.{name}": (
            torch.randn(rank, D_MODEL, generator=generator) * 0.2,
            torch.randn(D_MODEL, rank, generator=generator) * 0.2,
        )
        for layer, name in ((0, "query"), (2, "value"))
    }
    return LowRankUpdate(factors, **options)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {model_type: tiny_checkpoint(model_type, folder / model_type) for model_type in TARGETS}


@pytest.fixture
def hub(checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tiny BERT as a hub model: its id."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    snapshot = tmp_path / "0123abcd"
    snapshot.symlink_to(checkpoints["bert"])

    def download(repo: str, name: str, **_: Any) -> str:
        assert repo == "me/bert"
        if not (snapshot / name).is_file():
            raise EntryNotFoundError(name)
        return str(snapshot / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return "me/bert"


def encoder_of(backbone: Backbone) -> Encoder:
    return Encoder(backbone, random_head(backbone.d_model), SETTINGS)


def updated(hub: str) -> Encoder:
    """With its tokenizer, which transformers would fetch from the hub in its own way."""
    backbone = Backbone.load(hub, layer=2, update=random_update())
    backbone.tokenizer = AutoTokenizer.from_pretrained(backbone.checkpoint.folder)
    return encoder_of(backbone)


# ---- the update itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model_type", "options"),
    [
        ("bert", {}),
        ("llama", {}),
        ("bert", {"use_rslora": True}),
        ("llama", {"rank_pattern": {"q_proj": 5}, "alpha_pattern": {"v_proj": 1}}),
    ],
)
def test_merged_weights_are_pefts(model_type: str, options: dict[str, Any], checkpoints: dict[str, Path]) -> None:
    trained = Backbone.load(checkpoints[model_type], layer=1)
    adapted = lora(trained, model_type, **options)
    update = LowRankUpdate.from_peft(adapted)
    expected = adapted.merge_and_unload().state_dict()
    base = Backbone.load(checkpoints[model_type], layer=1)
    merged = base.with_update(update)
    assert merged.model.state_dict().keys() == expected.keys()
    for name, weight in merged.model.state_dict().items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-6)
    changed = {name for name, weight in base.model.state_dict().items() if not weight.equal(expected[name])}
    assert changed == {f"{name}.weight" for name in update.factors} and changed
    assert update.rank == (5 if "rank_pattern" in options else 3)


def test_several_active_adapters_are_added_up(checkpoints: dict[str, Path]) -> None:
    import peft

    adapted = lora(Backbone.load(checkpoints["bert"]), target_modules=["query"])
    adapted.add_adapter("second", peft.LoraConfig(r=2, lora_alpha=1, target_modules=["query", "value"]))
    adapted.add_adapter("idle", peft.LoraConfig(r=2, lora_alpha=1, target_modules=["key"]))
    adapted.base_model.set_adapter(["default", "second"])
    randomise(adapted)
    update = LowRankUpdate.from_peft(adapted)
    assert len(update.factors[QUERY].A) == 5
    expected = adapted.merge_and_unload(adapter_names=["default", "second"]).state_dict()
    for name, weight in Backbone.load(checkpoints["bert"], update=update).model.state_dict().items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"lora_bias": True}, "lora_bias"),
        ({"bias": "lora_only"}, "biases"),
        ({"modules_to_save": ["LayerNorm"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"target_modules": ["word_embeddings"]}, "only linear layers"),
        ({"trainable_token_indices": {"word_embeddings": [1]}}, "tokens"),
    ],
)
def test_what_is_no_low_rank_update_is_refused(
    options: dict[str, Any], message: str, checkpoints: dict[str, Path]
) -> None:
    with pytest.raises(InputError, match=message):
        LowRankUpdate.from_peft(lora(Backbone.load(checkpoints["bert"], layer=0), **options))


def test_the_sum_of_updates_adds_both(checkpoints: dict[str, Path]) -> None:
    one, two = random_update(1), random_update(2, rank=3)
    weight = Backbone.load(checkpoints["bert"]).model.get_parameter(f"{QUERY}.weight").detach().double()
    for update in (one, two):
        A, B = (factor.double() for factor in update.factors[QUERY])
        weight = weight + B @ A
    both = Backbone.load(checkpoints["bert"], update=one + two).model.get_parameter(f"{QUERY}.weight")
    torch.testing.assert_close(both.detach().double(), weight, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_saved_is_what_is_in_memory(dtype: torch.dtype, tmp_path: Path) -> None:
    update = random_update().stored_as(dtype)
    update.save(tmp_path / "update.safetensors")
    assert {tensor.dtype for tensor in load_file(tmp_path / "update.safetensors").values()} == {dtype}
    again = LowRankUpdate.load(tmp_path / "update.safetensors")
    assert again.digest() == update.digest() and again.dtype == dtype
    for name, (A, B) in random_update().factors.items():
        torch.testing.assert_close(again.factors[name].A, A.to(dtype).float(), rtol=0, atol=0)
        torch.testing.assert_close(again.factors[name].B, B.to(dtype).float(), rtol=0, atol=0)
    assert (update.digest() == random_update().digest()) == (dtype == torch.float32)


def test_bfloat16_weights_are_rounded_once(checkpoints: dict[str, Path]) -> None:
    update = random_update()
    base = Backbone.load(checkpoints["bert"], dtype=torch.bfloat16).model.get_parameter(f"{QUERY}.weight").detach()
    A, B = (factor.double() for factor in update.factors[QUERY])
    merged = Backbone.load(checkpoints["bert"], dtype=torch.bfloat16, update=update).model
    expected = (base.double() + B @ A).to(torch.bfloat16)
    found = merged.get_parameter(f"{QUERY}.weight")
    # the sum is float32's: where it falls beside the middle of two bfloat16 numbers, float64 may round the other way
    assert (found != expected).sum() <= 2
    torch.testing.assert_close(found.float(), expected.float(), rtol=2**-7, atol=1e-6)


def test_factors_that_cannot_be_are_refused(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    A, B = torch.randn(2, D_MODEL), torch.randn(D_MODEL, 2)
    with pytest.raises(InputError, match=r"\[rank, d_in\]"):
        LowRankUpdate({QUERY: (A, B.T)})
    with pytest.raises(InputError, match=r"not finite in torch\.float16"):
        LowRankUpdate({QUERY: (A, B * 1e6)}, torch.float16)
    with pytest.raises(InputError, match="no module"):
        LowRankUpdate({})
    backbone = Backbone.load(checkpoints["bert"], layer=0)
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    for wrong, message in (
        ({"encoder.layer.3.attention.self.query": (A, B)}, "layer.3.attention.self.query"),
        ({"encoder.layer.0.intermediate.dense": (A, B)}, r"\[32, 32\].*\[64, 32\]"),
    ):
        with pytest.raises(MismatchError, match=message):
            LowRankUpdate({QUERY: (A, B)} | wrong).merge_into(backbone.model)
    assert all(tensor.equal(before[name]) for name, tensor in backbone.model.state_dict().items())
    (tmp_path / "damaged").write_bytes(b"no tensors")
    save_file({f"{QUERY}.A": A}, tmp_path / "half", metadata={"format": "saelex-low-rank/1"})
    save_file({f"{QUERY}.A": A}, tmp_path / "foreign")
    for name, message in (("damaged", "damaged"), ("none", "missing"), ("half", r"query.B has no"), ("foreign", "not")):
        with pytest.raises(InputError, match=message):
            LowRankUpdate.load(tmp_path / name)


# ---- in a backbone and a model folder -------------------------------------------------------------------------------


def test_identity_is_of_base_and_update(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    update = random_update()
    base = Backbone.load(checkpoints["bert"], layer=2)
    merged = base.with_update(update)
    assert merged.identity() == base.identity() | {"adapter": update.digest()}
    assert merged.with_update(None).identity() == base.identity()
    halved = Backbone.load(checkpoints["bert"], layer=2, update=update, dtype=torch.bfloat16)
    assert halved.identity() == merged.identity() | {"dtype": "bfloat16"}
    with pytest.raises(InputError, match="not both"):
        Backbone.load(checkpoints["bert"], update=update, adapter=tmp_path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_hub_backbone_is_named_and_its_update_written(dtype: torch.dtype, hub: str, tmp_path: Path) -> None:
    update = random_update(dtype=dtype)
    encoder = encoder_of(Backbone.load(hub, layer=2, update=update))
    plain = encoder_of(Backbone.load(hub, layer=2))
    before = encoder.fingerprint
    assert before != plain.fingerprint
    encoder.save_pretrained(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md", "adapter.safetensors", "config_sentence_transformers.json", "head.safetensors", "modules.json",
        "probes.safetensors", "saelex_config.json",
    ]  # fmt: skip
    n_bytes = 4 * 2 * D_MODEL * dtype.itemsize
    assert n_bytes < (tmp_path / "model" / "adapter.safetensors").stat().st_size < n_bytes + 1024
    config = json.loads((tmp_path / "model" / "saelex_config.json").read_text())
    assert config["backbone"]["model"] == config["backbone"]["base_model"] == hub
    assert "| Low-rank update of the backbone | rank 2," in (tmp_path / "model" / "README.md").read_text()

    again = Encoder.load(tmp_path / "model", device="cpu")
    assert again.fingerprint == before and not again.backbone_identity.changed()
    assert again.backbone.update is not None and again.backbone.update.digest() == update.digest()
    ours, theirs = again.encode_document(TEXTS), encoder.encode_document(TEXTS)
    np.testing.assert_array_equal(ours.latents, theirs.latents)
    np.testing.assert_array_equal(ours.weights, theirs.weights)
    assert not np.array_equal(ours.weights, plain.encode_document(TEXTS).weights)

    again.save_pretrained(tmp_path / "second")
    assert Encoder.load(tmp_path / "second", device="cpu").fingerprint == before


def test_a_folder_without_update_is_written_as_before(hub: str, tmp_path: Path) -> None:
    encoder_of(Backbone.load(hub, layer=2)).save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "saelex_config.json"
    config = json.loads(path.read_text())
    assert config["format"] == "saelex-encoder/1" and not (tmp_path / "model" / "adapter.safetensors").exists()
    del config["backbone"]["update"]  # as folders had it before there were updates
    path.write_text(json.dumps(config))
    assert Encoder.load(tmp_path / "model", device="cpu").backbone.update is None


def test_the_merged_backbone_is_copied_where_it_is_asked_for(hub: str, tmp_path: Path) -> None:
    encoder = updated(hub)
    encoder.save_pretrained(tmp_path / "model", include_backbone=True)
    assert not (tmp_path / "model" / "adapter.safetensors").exists()
    again = Encoder.load(tmp_path / "model", device="cpu")
    assert again.fingerprint == encoder.fingerprint and again.backbone.update is None
    assert again.backbone.base_model == hub
    np.testing.assert_array_equal(again.encode_query(TEXTS).weights, encoder.encode_query(TEXTS).weights)


def test_a_local_backbone_is_copied_unless_it_is_to_be_named(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    encoder = encoder_of(Backbone.load(checkpoints["bert"], layer=2, update=random_update()))
    encoder.save_pretrained(tmp_path / "copied")
    assert (tmp_path / "copied" / "backbone").is_dir()
    encoder.save_pretrained(tmp_path / "named", include_backbone=False)
    assert not (tmp_path / "named" / "backbone").exists()
    for name in ("copied", "named"):
        again = Encoder.load(tmp_path / name, device="cpu")
        assert again.fingerprint == encoder.fingerprint
        np.testing.assert_array_equal(again.encode_query(TEXTS).weights, encoder.encode_query(TEXTS).weights)


def test_training_after_the_update_needs_the_whole_backbone(hub: str, tmp_path: Path) -> None:
    encoder = updated(hub)
    with torch.no_grad():
        next(encoder.backbone.parameters()).mul_(1.1)
    encoder.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model" / "adapter.safetensors").exists()
    again = Encoder.load(tmp_path / "model", device="cpu")
    assert again.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(again.encode_query(TEXTS).weights, encoder.encode_query(TEXTS).weights)


def test_a_tampered_or_exchanged_update_is_refused(hub: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    encoder_of(Backbone.load(hub, layer=2, update=random_update())).save_pretrained(folder)
    path, config_path = folder / "adapter.safetensors", folder / "saelex_config.json"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(MismatchError, match="sha256 differs"):
        Encoder.load(folder)
    path.unlink()
    with pytest.raises(InputError, match="missing"):
        Encoder.load(folder)
    config = json.loads(config_path.read_text())
    config["backbone"]["update"] = None  # nobody is to load the base model for the trained one
    config_path.write_text(json.dumps(config))
    with pytest.raises(MismatchError, match="not the update"):
        Encoder.load(folder)


def test_a_model_with_an_update_loads_without_peft(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoder_of(Backbone.load(checkpoints["bert"], layer=2, update=random_update()))
    encoder.save_pretrained(tmp_path / "model", include_backbone=False)
    monkeypatch.setitem(sys.modules, "peft", None)  # importing it fails
    again = Encoder.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(again.encode_query(TEXTS).weights, encoder.encode_query(TEXTS).weights)


# ---- what made it ---------------------------------------------------------------------------------------------------


def test_training_files_are_written_and_kept(hub: str, tmp_path: Path) -> None:
    encoder = encoder_of(Backbone.load(hub, layer=2))
    files = {"training/recipe.yaml": "seed: 1\n", "training/logs/log.jsonl": b"{}\n"}
    encoder.save_pretrained(tmp_path / "model", extra_files=files)
    again = Encoder.load(tmp_path / "model", device="cpu")
    assert again.extra_files == {"training/recipe.yaml": b"seed: 1\n", "training/logs/log.jsonl": b"{}\n"}
    again.labels = {1: "lift"}
    again.save_pretrained(tmp_path / "model", extra_files={"training/recipe.yaml": "seed: 2\n"})
    assert (tmp_path / "model" / "training" / "recipe.yaml").read_text() == "seed: 2\n"
    assert (tmp_path / "model" / "training" / "logs" / "log.jsonl").read_bytes() == b"{}\n"


@pytest.mark.parametrize("name", ["labels.json", "/training/x", "training/../../x", "training", "../training/x"])
def test_a_name_outside_of_training_is_refused(name: str, hub: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="under training/"):
        encoder_of(Backbone.load(hub, layer=2)).save_pretrained(tmp_path / "model", extra_files={name: "x"})
    assert not (tmp_path / "model").exists() and not (tmp_path / "x").exists()
