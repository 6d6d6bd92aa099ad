"""Whatever changes a vector changes the fingerprint or is refused: it is computed, never believed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.encoder.tiny_encoders import random_head, tiny_encoder
from tests.encoder.tiny_models import LONG_TEXT, TEXTS, tiny_checkpoint, tiny_tokenizer

from saelex import files
from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.encoder import Encoder
from saelex.encoder.token_weights import TokenWeights
from saelex.encoder.weighting import LatentWeighting
from saelex.errors import InputError, MismatchError, SaelexError
from saelex.files import sha256_of
from saelex.sae.activations import TopK

CONFIG = "saelex_config.json"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    encoder = tiny_encoder(tmp_path_factory.mktemp("checkpoint"), sink_norm=50.0)
    encoder.head = random_head(encoder.backbone.d_model, TopK(9))
    encoder.weighting = LatentWeighting.fit([encoder.encode_document(TEXTS, top_k=None)])
    encoder.token_weights = TokenWeights(torch.ones(encoder.n_latents))
    encoder.labels = {4: "wings | lift"}
    return encoder


@pytest.fixture(scope="module")
def original(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    encoder.save_pretrained(folder)
    return folder


@pytest.fixture
def saved(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "model"))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value in a JSON document that holds no others."""
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, key))
    else:
        yield path


def another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value * 2 or 1
    return f"{value}x" if isinstance(value, str) else 1


def edited(content: Any, place: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    copy = json.loads(json.dumps(content))
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = change(inner[place[-1]])
    return copy


def refused_or_another(folder: Path, fingerprint: str) -> None:
    with suppress(SaelexError):
        assert Encoder.load(folder, device="cpu").fingerprint != fingerprint


def test_no_value_of_the_config_can_be_edited(saved: Path, encoder: Encoder) -> None:
    path = saved / CONFIG
    config = json.loads(path.read_text())
    places = [place for place in leaves(config) if place[0] not in ("description", "saelex")]
    assert len(places) > 40
    for place in places:
        for change in (another, lambda value: None):
            path.write_text(json.dumps(edited(config, place, change)))
            if json.loads(path.read_text()) != config:
                try:
                    loaded = Encoder.load(saved, device="cpu")
                except SaelexError:
                    continue
                assert place == ("digest",) or loaded.fingerprint != encoder.fingerprint, place
    del config["digest"]  # then nobody vouches for what it says of the copied backbone's origin
    path.write_text(json.dumps(config))
    assert Encoder.load(saved, device="cpu").fingerprint != encoder.fingerprint


def test_a_description_may_be_edited(saved: Path, encoder: Encoder) -> None:
    config = json.loads((saved / CONFIG).read_text())
    (saved / CONFIG).write_text(json.dumps(config | {"description": {"licence": "mit"}}))
    assert Encoder.load(saved, device="cpu").fingerprint == encoder.fingerprint


@pytest.mark.parametrize(
    ("name", "section"),
    [("head.safetensors", "head"), ("backbone/model.safetensors", "backbone"),
     ("token_weights.safetensors", "token_weights"), ("weighting.safetensors", "weighting")],
)  # fmt: skip
def test_weights_cannot_be_exchanged_even_with_their_hash(
    name: str, section: str, saved: Path, encoder: Encoder
) -> None:
    tensors = load_file(saved / name)
    if section == "weighting":
        statistics = LatentWeighting.load(saved).statistics
        statistics.document_frequencies[3] += 1
        LatentWeighting(statistics).save(saved)
    else:
        save_file({key: tensor * 2 for key, tensor in tensors.items()}, saved / name)
    with pytest.raises(MismatchError, match="sha256 differs"):
        Encoder.load(saved)
    config = json.loads((saved / CONFIG).read_text())
    config[section]["sha256"] = sha256_of(saved / name)
    (saved / CONFIG).write_text(json.dumps(config))
    refused_or_another(saved, encoder.fingerprint)
    del config["digest"]
    (saved / CONFIG).write_text(json.dumps(config))
    refused_or_another(saved, encoder.fingerprint)


def test_edited_labels_are_refused(saved: Path) -> None:
    (saved / "labels.json").write_text('{"4": "engines"}')
    with pytest.raises(MismatchError, match=r"labels\.json"):
        Encoder.load(saved)


@pytest.mark.parametrize("model_type", ["bert", "xlm-roberta", "modernbert", "gemma2", "qwen2"])
def test_what_changes_hidden_states_in_a_backbones_config_is_in_its_identity(model_type: str, tmp_path: Path) -> None:
    folder = tiny_checkpoint(model_type, tmp_path / "model")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    before = Backbone.load(folder)
    ids = torch.tensor([before.tokenizer(LONG_TEXT).input_ids])
    states, identity = before(ids), before.identity()
    changed: set[str] = set()
    for place in leaves(config):
        path.write_text(json.dumps(edited(config, place, another)))
        try:
            backbone = Backbone.load(folder)
            same = torch.equal(backbone(ids), states)
        except Exception:  # what cannot be is refused, by whomever
            continue
        if not same:
            changed.add(str(place[0]))
            assert backbone.identity() != identity, place
    assert changed  # the loop met settings that matter


@pytest.mark.parametrize("name", ["transformers_version", "_name_or_path", "architectures", "dtype", "use_cache"])
def test_notes_in_a_backbones_config_change_nothing(name: str, tmp_path: Path) -> None:
    for model_type in ("bert", "modernbert"):
        folder = tiny_checkpoint(model_type, tmp_path / model_type)
        before = Backbone.load(folder).identity()
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {name: "float32" if name == "dtype" else "other"}))
        assert Backbone.load(folder).identity() == before


def lower_case(content: dict[str, Any]) -> None:
    content["normalizer"]["lowercase"] = not content["normalizer"]["lowercase"]


def exchanged_words(content: dict[str, Any]) -> None:
    vocabulary = content["model"]["vocab"]
    vocabulary["wing"], vocabulary["lift"] = vocabulary["lift"], vocabulary["wing"]


def added_token(content: dict[str, Any]) -> None:
    content["added_tokens"].append(content["added_tokens"][-1] | {"content": "bank", "id": 149})


def no_frame(content: dict[str, Any]) -> None:
    content["post_processor"] = None


EDITS = [lower_case, exchanged_words, added_token, no_frame]


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_tokenizer_is_refused_in_a_model_folder_and_another_encoder_elsewhere(
    edit: Callable[[dict[str, Any]], None], saved: Path, tmp_path: Path
) -> None:
    def change(path: Path) -> None:
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content))

    change(saved / "backbone" / "tokenizer.json")
    with pytest.raises(MismatchError, match="tokenizer"):
        Encoder.load(saved)
    plain = tiny_checkpoint("bert", tmp_path / "plain", language_model=True)
    before = Encoder.load(plain, device="cpu").fingerprint
    change(plain / "tokenizer.json")
    assert Encoder.load(plain, device="cpu").fingerprint != before


def test_padding_and_cutting_in_the_tokenizers_file_are_not_part_of_it(tmp_path: Path) -> None:
    plain = tiny_checkpoint("bert", tmp_path / "plain", language_model=True)
    before = Encoder.load(plain, device="cpu").fingerprint
    tokenizer = tiny_tokenizer("bert").backend_tokenizer
    tokenizer.enable_padding(length=40)
    tokenizer.enable_truncation(7)
    tokenizer.save(str(plain / "tokenizer.json"))
    assert Encoder.load(plain, device="cpu").fingerprint == before


def test_an_edited_backbone_config_is_refused(saved: Path) -> None:
    path = saved / "backbone" / "config.json"
    config = json.loads(path.read_text())
    for name, value in (("hidden_act", "relu"), ("num_attention_heads", 2), ("layer_norm_eps", 0.5)):
        path.write_text(json.dumps(config | {name: value}))
        with pytest.raises(MismatchError, match=r"backbone/config\.json"):
            Encoder.load(saved)


def test_a_named_backbone_is_compared_whole(encoder: Encoder, tmp_path: Path) -> None:
    base = Path(shutil.copytree(encoder.backbone.model_id, tmp_path / "base"))
    named = Encoder(Backbone.load(base, layer=2), encoder.head, encoder.settings)
    named.save_pretrained(tmp_path / "model", include_backbone=False)
    assert Encoder.load(tmp_path / "model", device="cpu").fingerprint == named.fingerprint
    for name, (key, value) in {"config.json": ("hidden_act", "relu"), "tokenizer.json": ("normalizer", None)}.items():
        content = (base / name).read_text()
        (base / name).write_text(json.dumps(json.loads(content) | {key: value}))
        with pytest.raises(MismatchError, match="base"):
            Encoder.load(tmp_path / "model")
        (base / name).write_text(content)


def test_settings_of_a_published_model_are_part_of_its_fingerprint(tmp_path: Path) -> None:
    folder = tmp_path / "splade"
    tiny_checkpoint("bert", folder, language_model=True)
    (folder / "1_SpladePooling").mkdir()
    kinds = {"": "MLMTransformer", "1_SpladePooling": "SpladePooling"}
    modules = [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.sparse_encoder.models.{kind}"}
               for i, (path, kind) in enumerate(kinds.items())]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(modules))
    contents: dict[str, list[dict[str, Any]]] = {
        "1_SpladePooling/config.json": [{}, {"pooling_strategy": "sum"}, {"activation_function": "log1p_relu"}],
        "sentence_bert_config.json": [{"max_seq_length": 9}, {"max_seq_length": 10}],
        "config_sentence_transformers.json": [{"prompts": {"query": "q: "}}, {"prompts": {"document": "q: "}}],
    }
    seen: list[str] = []
    for name, some in contents.items():
        for content in some:
            (folder / name).write_text(json.dumps(content))
            seen.append(Encoder.load(folder, device="cpu").fingerprint)
    assert len(set(seen)) == len(seen)


def test_another_dtype_keeps_the_fingerprint(original: Path, encoder: Encoder) -> None:
    half = Encoder.load(original, device="cpu", dtype=torch.bfloat16)
    assert half.backbone.dtype == torch.bfloat16 and half.fingerprint == encoder.fingerprint


def test_a_head_is_hashed_once(original: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAELEX_CACHE", str(tmp_path))
    first = Encoder.load(original, device="cpu")
    monkeypatch.setattr("saelex.encoder.stored_head.tensors_digest", lambda _: pytest.fail("hashed again"))
    monkeypatch.setattr(files, "_hash", lambda _: pytest.fail("hashed again"))
    again = Encoder.load(original, device="cpu")
    assert again.fingerprint == first.fingerprint
    np.testing.assert_array_equal(again.encode_document(TEXTS).weights, first.encode_document(TEXTS).weights)


# ---- code -----------------------------------------------------------------------------------------------------------

OWN_CODE = "from pathlib import Path\nPath({mark!r}).write_text('ran')\n\nclass Own:\n    pass\n"


@pytest.mark.parametrize("model_type", ["bert", "distilbert", "llama"])
def test_no_code_of_a_model_folder_runs(model_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from saelex.encoder.backbone.language_model import LanguageModel
    from saelex.training.mining.teachers import load_sentence_transformers

    folder = tiny_checkpoint(model_type, tmp_path / "model", language_model=True)
    mark = tmp_path / "mark"
    (folder / "own.py").write_text(OWN_CODE.format(mark=str(mark)))
    autos = ("AutoConfig", "AutoModel", "AutoModelForMaskedLM", "AutoModelForCausalLM",
             "AutoModelForSequenceClassification")  # fmt: skip
    for name, own in (
        ("config.json", {"auto_map": dict.fromkeys(autos, "own.Own") | {"AutoTokenizer": ["own.Own", "own.Own"]}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}, "tokenizer_class": "Own"}),
    ):
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | own))
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda prompt="": asked.append(prompt) or "y")
    monkeypatch.chdir(folder)
    loaders: list[Callable[[], Any]] = [
        lambda: Encoder.load(folder, device="cpu"),
        lambda: Encoder.from_vocabulary(folder),
        lambda: Backbone.load(folder).tokenizer,
        lambda: LanguageModel.of(Backbone.load(folder, bidirectional=model_type != "llama")),
        lambda: load_sentence_transformers("SentenceTransformer", str(folder)),
        lambda: load_sentence_transformers("CrossEncoder", str(folder)),
    ]
    for load in loaders:
        with suppress(InputError):
            load()
    assert not asked and not mark.exists()


def test_modules_of_a_models_own_are_refused(tmp_path: Path) -> None:
    folder = tiny_checkpoint("bert", tmp_path / "model", language_model=True)
    (folder / "own.py").write_text(OWN_CODE.format(mark=str(tmp_path / "mark")))
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {"idx": 0, "name": "0", "path": "", "type": "own.MLMTransformer"},
                {"idx": 1, "name": "1", "path": "1", "type": "own.SpladePooling"},
            ]
        )
    )
    with pytest.raises(InputError, match="code of the model's own"):
        Encoder.load(folder)
    assert not (tmp_path / "mark").exists()


def test_how_a_tokenizer_cuts_and_splits_is_part_of_it(tmp_path: Path) -> None:
    plain = tiny_checkpoint("bert", tmp_path / "plain", language_model=True)
    seen = [Encoder.load(plain, device="cpu").fingerprint]
    for change in (
        lambda tokenizer: tokenizer.enable_truncation(9, direction="left"),
        lambda tokenizer: setattr(tokenizer, "encode_special_tokens", True),
    ):
        encoder = Encoder.load(plain, device="cpu")
        change(encoder.tokenizer.tokenizer)
        seen.append(encoder.fingerprint)
    assert len(set(seen)) == 3


def test_an_adapters_settings_are_part_of_its_backbones_identity(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    from transformers import AutoModel

    folder = tiny_checkpoint("bert", tmp_path / "model")
    adapted = peft.get_peft_model(
        AutoModel.from_pretrained(folder), peft.LoraConfig(r=2, lora_alpha=4, target_modules=["query"])
    )
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    adapted.save_pretrained(tmp_path / "adapter")
    before = Backbone.load(folder, adapter=tmp_path / "adapter").identity()
    path = tmp_path / "adapter" / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"base_model_name_or_path": "elsewhere"}))
    assert Backbone.load(folder, adapter=tmp_path / "adapter").identity() == before
    path.write_text(json.dumps(config | {"lora_alpha": 8}))
    assert Backbone.load(folder, adapter=tmp_path / "adapter").identity() != before
