"""The cut backbone against transformers' own models, over every supported model type."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.encoder.tiny_models import DECODERS, LAYERS, LONG_TEXT, TEXTS, TINY_MODELS, tiny_checkpoint
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedModel

from saelex.encoder.backbone.architectures import ARCHITECTURES
from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.checkpoint import Checkpoint
from saelex.errors import InputError, MismatchError

ALL_TYPES = tuple(TINY_MODELS)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {model_type: tiny_checkpoint(model_type, folder / model_type) for model_type in ALL_TYPES}


def causal_option(model_type: str) -> bool | None:
    """Attention as the full model has it: causal for decoders."""
    return False if model_type in DECODERS else None


def full_model(folder: Path) -> PreTrainedModel:
    """The uncut model, eager: older transformers otherwise run Gemma 2 without its attention soft-cap."""
    return AutoModel.from_pretrained(folder, attn_implementation="eager")


def block_output(model: PreTrainedModel, layer: int, ids: Tensor) -> Tensor:
    """Output of one block of a whole model, by a hook."""
    if model.config.model_type == "distilbert":
        blocks = model.transformer.layer
    else:
        blocks = model.encoder.layer if hasattr(model, "encoder") else model.layers
    seen: list[Tensor] = []
    handle = blocks[layer].register_forward_hook(lambda module, args, out: seen.append(out))
    with torch.no_grad():
        model(ids)
    handle.remove()
    return seen[0][0] if isinstance(seen[0], tuple) else seen[0]


def encode(backbone: Backbone, text: str) -> Tensor:
    return backbone.tokenizer(text, return_tensors="pt")["input_ids"]


def test_every_supported_type_is_tested() -> None:
    assert set(ALL_TYPES) == set(ARCHITECTURES)


@pytest.mark.parametrize("model_type", ALL_TYPES)
def test_residual_is_the_full_models_block_output(model_type: str, checkpoints: dict[str, Path]) -> None:
    full = full_model(checkpoints[model_type])
    for layer in range(LAYERS):
        backbone = Backbone.load(checkpoints[model_type], layer=layer, bidirectional=causal_option(model_type))
        ids = encode(backbone, LONG_TEXT)
        with torch.no_grad():
            hidden = backbone(ids)
            entry = full(ids, output_hidden_states=True).hidden_states[layer + 1]
        torch.testing.assert_close(hidden, block_output(full, layer, ids), rtol=1e-5, atol=1e-5)
        if layer < LAYERS - 1:
            torch.testing.assert_close(hidden, entry, rtol=1e-5, atol=1e-5)
        elif ARCHITECTURES[model_type].final_norm is not None:  # the last entry has the final norm applied
            assert (hidden - entry).abs().max() > 0.1
    assert Backbone.load(checkpoints[model_type]).layer == LAYERS - 1


@pytest.mark.parametrize("model_type", ALL_TYPES)
def test_final_output_is_the_full_models(model_type: str, checkpoints: dict[str, Path]) -> None:
    full = full_model(checkpoints[model_type])
    backbone = Backbone.load(checkpoints[model_type], output="final", bidirectional=causal_option(model_type))
    ids = encode(backbone, LONG_TEXT)
    with torch.no_grad():
        torch.testing.assert_close(backbone(ids), full(ids).last_hidden_state, rtol=1e-5, atol=1e-5)
    assert backbone.d_model == backbone(ids).shape[-1]


@pytest.mark.parametrize("model_type", ALL_TYPES)
def test_padding_changes_nothing(model_type: str, checkpoints: dict[str, Path]) -> None:
    backbone = Backbone.load(checkpoints[model_type], layer=2)
    batch = backbone.tokenizer(list(TEXTS), padding=True, return_tensors="pt")
    assert not batch["attention_mask"].all() and backbone.tokenizer.padding_side == "right"
    with torch.no_grad():
        padded = backbone(batch["input_ids"], batch["attention_mask"])
        for text, row, mask in zip(TEXTS, padded, batch["attention_mask"], strict=True):
            torch.testing.assert_close(row[mask.bool()], backbone(encode(backbone, text))[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model_type", ALL_TYPES)
def test_skipped_blocks_are_not_there(model_type: str, checkpoints: dict[str, Path]) -> None:
    full = full_model(checkpoints[model_type])
    backbone = Backbone.load(checkpoints[model_type], layer=1)
    skipped = [name for name, _ in full.named_parameters() if any(f"layer.{i}." in name for i in (2, 3))]
    skipped += [name for name, _ in full.named_parameters() if any(f"layers.{i}." in name for i in (2, 3))]
    left_out = {name for name, _ in full.named_parameters() if name.startswith(("pooler.", "norm.", "final_norm."))}
    expected = {name for name, _ in full.named_parameters()} - set(skipped) - left_out
    assert {name for name, _ in backbone.model.named_parameters()} == expected and skipped


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_shards_of_skipped_blocks_are_never_opened(
    model_type: str, tmp_path: Path, checkpoints: dict[str, Path]
) -> None:
    full = full_model(checkpoints[model_type])
    shutil.copytree(checkpoints[model_type], tmp_path / "sharded")
    (tmp_path / "sharded" / "model.safetensors").unlink()
    full.save_pretrained(tmp_path / "sharded", max_shard_size="40KB")
    index = json.loads((tmp_path / "sharded" / "model.safetensors.index.json").read_text())["weight_map"]
    early = {
        file for name, file in index.items() if not any(f".{i}." in name for i in (1, 2, 3)) and "pooler" not in name
    }
    late = set(index.values()) - early
    assert late
    for name in late:
        (tmp_path / "sharded" / name).unlink()
    backbone = Backbone.load(tmp_path / "sharded", layer=0, bidirectional=causal_option(model_type))
    ids = encode(backbone, LONG_TEXT)
    torch.testing.assert_close(backbone(ids), block_output(full, 0, ids), rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match="does not hold it"):
        Backbone.load(tmp_path / "sharded", layer=3)


@pytest.mark.parametrize("model_type", ["bert", "gemma3_text", "modernbert", "llama"])
def test_bfloat16_checkpoint_keeps_its_dtype(model_type: str, tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    AutoModel.from_pretrained(checkpoints[model_type], dtype=torch.bfloat16).save_pretrained(tmp_path)
    shutil.copy(checkpoints[model_type] / "tokenizer.json", tmp_path)
    shutil.copy(checkpoints[model_type] / "tokenizer_config.json", tmp_path)
    backbone = Backbone.load(tmp_path, output="final", bidirectional=causal_option(model_type))
    assert backbone.dtype == torch.bfloat16
    ids = encode(backbone, LONG_TEXT)
    full = AutoModel.from_pretrained(tmp_path)
    torch.testing.assert_close(backbone(ids), full(ids).last_hidden_state, rtol=0.02, atol=0.05)
    assert Backbone.load(tmp_path, dtype="float32").dtype == torch.float32


def test_old_bert_checkpoint_names_load(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    """bert-base-uncased's first files: a pickle, a prefix, LayerNorm.gamma and LayerNorm.beta."""
    shutil.copytree(checkpoints["bert"], tmp_path / "old")
    weights = load_file(tmp_path / "old" / "model.safetensors")
    (tmp_path / "old" / "model.safetensors").unlink()
    renamed = {
        "bert."
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in weights.items()
    }
    torch.save(renamed, tmp_path / "old" / "pytorch_model.bin")
    old, new = Backbone.load(tmp_path / "old"), Backbone.load(checkpoints["bert"])
    ids = encode(new, LONG_TEXT)
    assert torch.equal(old(ids), new(ids))


def test_checkpoints_of_the_first_pytorch_versions_load_and_damaged_ones_are_named(
    tmp_path: Path, checkpoints: dict[str, Path]
) -> None:
    source = checkpoints["bert"]
    weights = load_file(source / "model.safetensors")
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    pickled = tmp_path / "pytorch_model.bin"
    torch.save(weights, pickled, _use_new_zipfile_serialization=False)
    for name, tensor in Backbone.load(tmp_path).model.state_dict().items():
        assert torch.equal(tensor, Backbone.load(source).model.state_dict()[name])
    pickled.write_bytes(pickled.read_bytes()[:100])
    with pytest.raises(InputError, match=r"pytorch_model\.bin is damaged"):
        Backbone.load(tmp_path)


@pytest.mark.parametrize("dtype", ["int8", "float33"])
def test_a_dtype_that_is_none_for_weights_is_refused(dtype: str, checkpoints: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="unknown dtype"):
        Backbone.load(checkpoints["bert"], dtype=dtype)


def test_text_part_of_a_vision_gemma3(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    shutil.copytree(checkpoints["gemma3_text"], tmp_path / "gemma3")
    text = json.loads((tmp_path / "gemma3" / "config.json").read_text())
    (tmp_path / "gemma3" / "config.json").write_text(
        json.dumps(
            {"model_type": "gemma3", "text_config": text, "vision_config": {"model_type": "siglip_vision_model"}}
        )
    )
    weights = load_file(tmp_path / "gemma3" / "model.safetensors")
    renamed = {f"language_model.model.{name}": tensor for name, tensor in weights.items()}
    save_file(renamed, tmp_path / "gemma3" / "model.safetensors")
    whole, part = Backbone.load(tmp_path / "gemma3", layer=2), Backbone.load(checkpoints["gemma3_text"], layer=2)
    ids = encode(part, LONG_TEXT)
    assert torch.equal(whole(ids), part(ids))


@pytest.mark.parametrize("model_type", ["distilbert", "gemma2", "qwen2", "modernbert"])
def test_save_and_load_again(model_type: str, tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    backbone = Backbone.load(checkpoints[model_type], layer=2, output="final")
    backbone.save(tmp_path / "cut")
    again = Backbone.load(tmp_path / "cut", output="final")
    ids = encode(again, LONG_TEXT)
    assert again.layer == 2 and again.settings["model_type"] == model_type
    assert torch.equal(again(ids), backbone(ids))
    elsewhere = AutoModel.from_pretrained(tmp_path / "cut")  # transformers reads the folder too
    assert elsewhere.config.num_hidden_layers == 3
    if model_type not in DECODERS:
        torch.testing.assert_close(elsewhere(ids).last_hidden_state, backbone(ids), rtol=1e-5, atol=1e-5)


def test_identity_names_what_decides_the_states(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    backbone = Backbone.load(checkpoints["llama"], layer=1)
    identity = backbone.identity()
    shutil.copytree(checkpoints["llama"], tmp_path / "moved")
    assert Backbone.load(tmp_path / "moved", layer=1).identity() == identity
    others = ({"layer": 2}, {"bidirectional": False}, {"output": "final"}, {"window": "full"}, {"dtype": "bfloat16"})
    for other in others:
        assert Backbone.load(checkpoints["llama"], **({"layer": 1} | other)).identity() != identity
    reseeded = tiny_checkpoint("llama", tmp_path / "reseeded", seed=1)
    assert Backbone.load(reseeded, layer=1).identity()["weights"] != identity["weights"]


@pytest.mark.parametrize("model_type", ["llama", "bert"])
def test_adapter_is_merged(model_type: str, tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    """A LoRA adapter trained on the uncut model (under its LM head for Llama) equals peft's own forward pass."""
    import peft

    modules = ["q_proj", "v_proj"] if model_type == "llama" else ["query", "value"]
    auto = AutoModelForCausalLM if model_type == "llama" else AutoModel
    adapted = peft.get_peft_model(
        auto.from_pretrained(checkpoints[model_type]), peft.LoraConfig(r=2, lora_alpha=4, target_modules=modules)
    )
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    adapted.save_pretrained(tmp_path / "adapter")
    backbone = Backbone.load(
        checkpoints[model_type], layer=1, bidirectional=causal_option(model_type), adapter=tmp_path / "adapter"
    )
    ids = encode(backbone, LONG_TEXT)
    with torch.no_grad():
        expected = adapted.eval()(ids, output_hidden_states=True).hidden_states[2]
        plain = Backbone.load(checkpoints[model_type], layer=1, bidirectional=causal_option(model_type))
        torch.testing.assert_close(backbone(ids), expected, rtol=1e-4, atol=1e-5)
        assert (plain(ids) - expected).abs().max() > 0.01
    assert backbone.identity() != plain.identity()
    assert not any("lora" in name for name, _ in backbone.model.named_parameters())

    with pytest.raises(MismatchError, match="adapter"):
        Backbone.load(checkpoints["distilbert"], adapter=tmp_path / "adapter")


def test_hub_files_are_fetched_as_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkpoints: dict[str, Path]
) -> None:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    snapshot = tmp_path / "snapshots" / ("a1" * 20)
    fetched: list[tuple[str, str | None]] = []

    def fetch(repo: str, name: str, *, revision: str | None, token: str | None) -> str:
        fetched.append((name, revision))
        if not (checkpoints["llama"] / name).is_file():
            raise EntryNotFoundError(name)
        snapshot.mkdir(parents=True, exist_ok=True)
        return str(shutil.copy(checkpoints["llama"] / name, snapshot))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    backbone = Backbone.load("tiny/llama", layer=1, revision="main")
    assert fetched[0] == ("config.json", "main")
    # later files belong to the commit found first; an adapter among them would change the model
    assert set(fetched[1:]) == {(name, snapshot.name) for name in ("adapter_config.json", "model.safetensors")}
    assert (backbone.model_id, backbone.revision) == ("tiny/llama", snapshot.name)
    assert backbone.identity() == Backbone.load(checkpoints["llama"], layer=1).identity()


def test_what_is_refused(tmp_path: Path, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    bert, llama = checkpoints["bert"], checkpoints["llama"]
    with pytest.raises(InputError, match=r"no layer 4; its 4 blocks are numbered 0 to 3"):
        Backbone.load(bert, layer=4)
    with pytest.raises(InputError, match="no layer -1"):
        Backbone.load(llama, layer=-1)
    with pytest.raises(InputError, match="is an encoder"):
        Backbone.load(bert, bidirectional=False)
    with pytest.raises(InputError, match="dtype"):
        Backbone.load(bert, dtype="float7")
    with pytest.raises(InputError, match="'residual' or 'final'"):
        Backbone.load(bert, output="logits")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no model folder"):
        Backbone.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no config\.json"):
        Backbone.load(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="not in the local cache"):
        Backbone.load("nobody/nothing")
    with pytest.raises(InputError, match="no folder and no hub model"):
        Backbone.load("not a model name")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, "model type 'gpt2'; supported are bert, distilbert"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised"),
        ({"is_decoder": True}, "turned into a decoder"),
        ({"hidden_act": "snake"}, "unknown activation 'snake'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"compression_config": {"format": "int-quantized"}}, "quantised"),
        ({"configuration_files": ["config.4.0.0.json"]}, "for every version"),
        ({"num_attention_heads": 5}, "32 dimensions for 5 heads"),
    ],
)
def test_unfit_config_is_refused(
    changes: dict[str, object], message: str, tmp_path: Path, checkpoints: dict[str, Path]
) -> None:
    folder = shutil.copytree(checkpoints["bert"], tmp_path / "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(InputError, match=message):
        Backbone.load(folder)


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        ("llama", {"rope_theta": 100.0}),
        ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
        ("llama", {"is_causal": False}),
        ("mistral", {"is_causal": False}),  # with transformers' window, one token further than the causal one
        ("mistral", {"sliding_window": 3}),
        ("qwen2", {"rms_norm_eps": 0.3, "layer_types": ["full_attention", "sliding_attention"] * 2}),
        ("gemma2", {"attn_logit_softcapping": 0.5, "query_pre_attn_scalar": 2}),
        ("gemma3_text", {"hidden_activation": "relu", "use_bidirectional_attention": True}),
        ("modernbert", {"local_attention": 4, "norm_eps": 0.3}),
        ("xlm-roberta", {"hidden_act": "relu", "layer_norm_eps": 0.3}),
        ("distilbert", {"activation": "relu"}),
        ("bert", {"hidden_act": "gelu_new", "layer_norm_eps": 0.3, "num_attention_heads": 8}),
        ("bert", {"quantization_config": None, "pruned_heads": {}}),
    ],
)
def test_settings_of_config_json_hold_as_in_transformers(
    model_type: str, changes: dict[str, object], tmp_path: Path, checkpoints: dict[str, Path]
) -> None:
    folder = shutil.copytree(checkpoints[model_type], tmp_path / model_type)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    both_sides = changes.get("is_causal") is False or "use_bidirectional_attention" in changes
    direction = False if model_type in DECODERS and not both_sides else None
    backbone = Backbone.load(folder, output="final", bidirectional=direction)
    ids = encode(backbone, LONG_TEXT)
    with torch.no_grad():
        expected = AutoModel.from_pretrained(folder, attn_implementation="eager")(ids).last_hidden_state
        torch.testing.assert_close(backbone(ids), expected, rtol=1e-4, atol=1e-5)
    if both_sides:
        with pytest.raises(InputError, match="trained with bidirectional attention"):
            Backbone.load(folder, bidirectional=False)


def test_dtype_of_config_json_counts_as_in_transformers(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    folder = shutil.copytree(checkpoints["bert"], tmp_path / "bert")
    config = json.loads((folder / "config.json").read_text())
    for name in ("dtype", "torch_dtype"):
        plain = {key: value for key, value in config.items() if key not in ("dtype", "torch_dtype")}
        (folder / "config.json").write_text(json.dumps(plain | {name: "bfloat16"}))
        assert Backbone.load(folder).dtype == AutoModel.from_pretrained(folder).dtype == torch.bfloat16
        assert Backbone.load(folder, dtype="float32").dtype == torch.float32


def test_configurations_that_are_none_are_refused(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    for model_type, changes, message in (
        ("mistral", {"layer_types": ["full_attention"] * 4}, "which is a ministral"),
        ("qwen2", {"use_sliding_window": False, "layer_types": ["sliding_attention"] * 4}, "no sliding_window"),
        ("llama", {"hidden_size": "many"}, "not settings of a llama model"),
    ):
        folder = shutil.copytree(checkpoints[model_type], tmp_path / model_type)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))
        with pytest.raises(InputError, match=message):
            Backbone.load(folder)


def test_a_tensor_under_two_names_is_refused(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    folder = shutil.copytree(checkpoints["bert"], tmp_path / "bert")
    weights = load_file(folder / "model.safetensors")
    name = "encoder.layer.0.output.dense.weight"
    save_file(weights | {f"bert.{name}": weights[name] + 1}, folder / "model.safetensors")
    with pytest.raises(MismatchError, match=f"stores both {name} and bert.{name}"):
        Backbone.load(folder)


def test_weight_files_that_disagree_are_taken_in_transformers_order(
    tmp_path: Path, checkpoints: dict[str, Path]
) -> None:
    folder = shutil.copytree(checkpoints["bert"], tmp_path / "bert")
    weights = load_file(folder / "model.safetensors")
    torch.save({name: tensor * 2 for name, tensor in weights.items()}, folder / "pytorch_model.bin")
    save_file({name: tensor * 3 for name, tensor in weights.items()}, folder / "model-00001-of-00001.safetensors")
    index = {"weight_map": dict.fromkeys(weights, "model-00001-of-00001.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}} | index))
    for dropped in ("model.safetensors", "model.safetensors.index.json"):
        backbone = Backbone.load(folder)
        with torch.no_grad():
            expected = AutoModel.from_pretrained(folder)(ids := encode(backbone, LONG_TEXT)).last_hidden_state
            torch.testing.assert_close(backbone(ids), expected, rtol=1e-4, atol=1e-5)
        (folder / dropped).unlink()


def test_unfit_weights_are_refused(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    folder = shutil.copytree(checkpoints["llama"], tmp_path / "llama")
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in weights.items() if "layers.1.mlp" not in name}, folder / "model.safetensors"
    )
    assert Backbone.load(folder, layer=0).layer == 0
    with pytest.raises(MismatchError, match=r"lacks layers\.1\.mlp"):
        Backbone.load(folder)
    save_file(weights | {"layers.1.mlp.up_proj.weight": torch.zeros(3, 3)}, folder / "model.safetensors")
    with pytest.raises(MismatchError, match="size mismatch"):
        Backbone.load(folder)
    (folder / "model.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(InputError, match="damaged"):
        Backbone.load(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="holds no weights"):
        Backbone.load(folder)


def test_repr_tells_model_cut_and_place(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoints["llama"]
    backbone = Backbone.load(folder, layer=1, bidirectional=False, dtype="bfloat16")
    assert repr(backbone) == f"Backbone({folder}, layer 1, residual, causal, bfloat16 on cpu)"
    assert repr(Backbone.load(folder, output="final")).endswith("layer 3, final, bidirectional, float32 on cpu)")
    assert repr(backbone.checkpoint) == f"Checkpoint({folder})"
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repo, name, **_: folder / name)
    # the hub's cache calls a snapshot's folder by its commit
    assert repr(Checkpoint("me/llama")) == f"Checkpoint(me/llama, revision {folder.name})"


def test_positions_are_counted_from_behind_the_padding_token(tmp_path: Path) -> None:
    folder = tiny_checkpoint("xlm-roberta", tmp_path)
    settings = json.loads((folder / "config.json").read_text())
    assert Backbone.load(folder).max_length == settings["max_position_embeddings"] - 2
    (folder / "config.json").write_text(json.dumps(settings | {"pad_token_id": 5}))
    backbone = Backbone.load(folder)
    longest = torch.full((1, backbone.max_length), 7)
    torch.testing.assert_close(backbone(longest), full_model(folder)(input_ids=longest).last_hidden_state)
    with pytest.raises(RuntimeError):
        full_model(folder)(input_ids=torch.full((1, backbone.max_length + 1), 7))
    (folder / "config.json").write_text(json.dumps(settings | {"pad_token_id": None}))
    with pytest.raises(InputError, match="no pad_token_id"):
        Backbone.load(folder)


def test_layers_with_a_window_need_one(tmp_path: Path) -> None:
    for model_type in ("xlm-roberta", "gemma2"):
        folder = tiny_checkpoint(model_type, tmp_path / model_type)
        settings = json.loads((folder / "config.json").read_text())
        changes = {"layer_types": ["sliding_attention"] * LAYERS, "sliding_window": None}
        (folder / "config.json").write_text(json.dumps(settings | changes))
        with pytest.raises(InputError, match=r"config\.json"):
            Backbone.load(folder)


def test_shards_and_index_agree(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    """transformers reads every tensor of every shard, whatever the index says of it."""
    folder = tmp_path / "sharded"
    shutil.copytree(checkpoints["bert"], folder)
    (folder / "model.safetensors").unlink()
    AutoModel.from_pretrained(checkpoints["bert"]).save_pretrained(folder, max_shard_size="20KB")
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    first, *_, last = sorted(set(index["weight_map"].values()))
    tensors = load_file(folder / last)
    name = next(key for key, file in index["weight_map"].items() if file == first)
    Backbone.load(folder)
    save_file(tensors | {name: torch.zeros(1)}, folder / last)
    with pytest.raises(InputError, match="says it does not"):
        Backbone.load(folder, layer=0)
    save_file(tensors, folder / last)
    other = next(key for key, file in index["weight_map"].items() if file == last)
    for changed, message in (({other: first}, "lacks"), ({name: ...}, "says it does not")):
        listed = {key: file for key, file in {**index["weight_map"], **changed}.items() if file is not ...}
        path.write_text(json.dumps({"weight_map": listed}))
        with pytest.raises(InputError, match=message):
            Backbone.load(folder)
