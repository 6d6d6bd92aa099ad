"""Adapters beside a model's weights: the vectors are those that peft, transformers and SparseEncoder give."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sparse_encoder.modules import SpladePooling
from tests.encoder.tiny_models import LONG_TEXT, TEXTS, tiny_checkpoint
from transformers import AutoModel, AutoModelForMaskedLM

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.low_rank import LowRankUpdate
from saelex.encoder.encoder import Encoder
from saelex.errors import InputError, MismatchError

MIXED = [*TEXTS, LONG_TEXT]
ATTENTION = {"bert": ["query", "value"], "distilbert": ["q_lin", "v_lin"], "modernbert": ["Wqkv"]}


def write_adapter(base: Path, folder: Path, **options: Any) -> Any:
    """Save a random adapter, trained under the language model head as it were, and return peft's model."""
    torch.manual_seed(1)
    model = AutoModelForMaskedLM.from_pretrained(base)
    options = {"r": 4, "init_lora_weights": False} | options
    adapted = peft.get_peft_model(model, peft.LoraConfig(**options))
    for name, parameter in adapted.named_parameters():
        if "modules_to_save" in name or ("bias" in name and parameter.requires_grad):
            torch.nn.init.normal_(parameter, std=0.2)
    adapted.save_pretrained(folder)
    return adapted.eval()


def assert_same_as_sparse_encoder(folder: Path) -> Encoder:
    model, encoder = SparseEncoder(str(folder), device="cpu"), Encoder.load(folder, device="cpu")
    for theirs, ours in (
        (model.encode_query(MIXED), encoder.encode_query(MIXED)),
        (model.encode_document(MIXED), encoder.encode_document(MIXED)),
    ):
        np.testing.assert_allclose(theirs.to_dense().numpy(), ours.to_dense(), rtol=1e-4, atol=1e-5)
    return encoder


def assert_same_as_peft(adapted: Any, encoder: Encoder) -> None:
    """Where transformers reads an adapter wrongly (DoRA) or not at all (a subfolder, a .bin), peft is the measure."""
    for text in MIXED:
        ids = encoder.backbone.tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            expected = torch.log1p(torch.relu(adapted(ids).logits[0].amax(0))).numpy()
        np.testing.assert_allclose(encoder.encode_document(text).to_dense()[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model_type", "options"),
    [
        ("bert", {}),
        ("bert", {"use_rslora": True, "task_type": "FEATURE_EXTRACTION"}),
        ("bert", {"bias": "lora_only", "rank_pattern": {"bert.encoder.layer.1.attention.self.query": 2}}),
        ("bert", {"target_modules": r".*bert\.encoder\.layer\.[02]\..*(key|query)"}),
        (
            "bert",
            {"modules_to_save": ["attention.output.LayerNorm"], "layers_to_transform": [1], "layers_pattern": "layer"},
        ),
        ("distilbert", {}),
        ("modernbert", {"task_type": "TOKEN_CLS"}),
    ],
)
def test_an_adapter_beside_the_weights_is_merged(model_type: str, options: dict[str, Any], tmp_path: Path) -> None:
    folder = tiny_checkpoint(model_type, tmp_path / "model", language_model=True)
    plain = Encoder.load(folder, device="cpu").encode_document(MIXED)
    write_adapter(folder, folder, **({"target_modules": ATTENTION[model_type]} | options))
    encoder = assert_same_as_sparse_encoder(folder)
    assert np.abs(encoder.encode_document(MIXED).to_dense() - plain.to_dense()).max() > 0.01
    encoder.save_pretrained(tmp_path / "ours")
    again = Encoder.load(tmp_path / "ours", device="cpu")
    np.testing.assert_allclose(again.encode_query(MIXED).to_dense(), encoder.encode_query(MIXED).to_dense(), atol=1e-6)


@pytest.mark.parametrize("weights", ["adapter_model.safetensors", "adapter_model.bin"])
@pytest.mark.parametrize("alone", [False, True], ids=["beside weights", "alone"])
@pytest.mark.parametrize("place", ["", "0_Transformer"])
def test_an_adapter_in_a_sentence_transformers_folder(place: str, alone: bool, weights: str, tmp_path: Path) -> None:
    base = tiny_checkpoint("bert", tmp_path / "base", language_model=True)
    folder = tmp_path / "model"
    SparseEncoder(
        modules=[Transformer(str(base), transformer_task="fill-mask"), SpladePooling()], device="cpu"
    ).save_pretrained(str(folder))
    if place:
        (folder / place).mkdir()
        for path in list(folder.iterdir()):
            if path.is_file() and path.name not in ("modules.json", "config_sentence_transformers.json", "README.md"):
                path.rename(folder / place / path.name)
        modules = json.loads((folder / "modules.json").read_text())
        modules[0]["path"] = place
        (folder / "modules.json").write_text(json.dumps(modules))
    adapted = write_adapter(base, folder / place, target_modules=["query", "value"], use_dora=bool(place))
    if alone:
        for name in ("config.json", "model.safetensors"):
            (folder / place / name).unlink()
    if weights.endswith(".bin"):
        from safetensors.torch import load_file

        stored = folder / place / "adapter_model.safetensors"
        torch.save(load_file(stored), folder / place / weights)
        stored.unlink()
    readable = not place and weights.endswith(".safetensors")
    encoder = assert_same_as_sparse_encoder(folder) if readable else Encoder.load(folder, device="cpu")
    assert_same_as_peft(adapted, encoder)


def test_hidden_states_with_an_adapter_of_the_whole_model(tmp_path: Path) -> None:
    """An SAE reads the cut backbone: what the adapter does to the head and to later blocks does not matter."""
    folder = tiny_checkpoint("bert", tmp_path / "model", language_model=True)
    adapted = write_adapter(folder, folder, target_modules=["query", "dense", "decoder"])
    backbone = Backbone.load(folder, layer=1)
    ids = backbone.tokenizer(LONG_TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = adapted(ids, output_hidden_states=True).hidden_states[2]
        torch.testing.assert_close(backbone(ids), expected, rtol=1e-4, atol=1e-5)
        through = AutoModel.from_pretrained(folder)(ids, output_hidden_states=True).hidden_states[2]
        torch.testing.assert_close(backbone(ids), through, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({"target_modules": ["query", "dense"]}, "cls.predictions.transform.dense"),
        ({"target_modules": ["query", "decoder"]}, "cls.predictions.decoder"),
        ({"target_modules": ["query", "word_embeddings"]}, "embeddings.word_embeddings"),
        ({"target_modules": ["query"], "modules_to_save": ["transform"]}, "cls.predictions.transform"),
    ],
)
def test_an_adapter_of_the_head_is_refused(options: dict[str, Any], changed: str, tmp_path: Path) -> None:
    folder = tiny_checkpoint("bert", tmp_path / "model", language_model=True)
    write_adapter(folder, folder, **options)
    with pytest.raises(MismatchError, match=changed):
        Encoder.load(folder)


def test_other_adapters_are_refused(tmp_path: Path) -> None:
    base = tiny_checkpoint("bert", tmp_path / "base", language_model=True)
    folder = Path(shutil.copytree(base, tmp_path / "model"))
    config = peft.IA3Config(target_modules=["query", "output.dense"], feedforward_modules=["output.dense"])
    peft.get_peft_model(AutoModelForMaskedLM.from_pretrained(base), config).save_pretrained(folder)
    with pytest.raises(InputError, match="only LoRA"):
        Encoder.load(folder)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds no adapter_model\.safetensors"):
        Encoder.load(folder)


def test_one_adapter_at_a_time(tmp_path: Path) -> None:
    folder = tiny_checkpoint("bert", tmp_path / "model", language_model=True)
    write_adapter(folder, folder, target_modules=["query"])
    with pytest.raises(InputError, match="its own adapter counts"):
        Backbone.load(folder, adapter=folder)
    update = LowRankUpdate({"encoder.layer.0.attention.self.query": (torch.ones(1, 32), torch.ones(32, 1))})
    with pytest.raises(InputError, match="its own adapter counts"):
        Backbone.load(folder, update=update)


def test_an_adapter_alone_names_its_base(tmp_path: Path) -> None:
    base = tiny_checkpoint("bert", tmp_path / "base", language_model=True)
    write_adapter(base, tmp_path / "adapter", target_modules=["query"])
    assert Backbone.load(tmp_path / "adapter").checkpoint.model_id == str(base)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    for named, message in ((str(tmp_path / "gone"), "is not to be had"), (None, "names no base model")):
        (tmp_path / "adapter" / "adapter_config.json").write_text(
            json.dumps(config | {"base_model_name_or_path": named})
        )
        with pytest.raises(InputError, match=message):
            Backbone.load(tmp_path / "adapter")
