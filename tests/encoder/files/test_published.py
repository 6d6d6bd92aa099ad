"""Published layouts, built small: the vectors are those of sentence-transformers' SparseEncoder on the same folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling
from tests.encoder.tiny_models import LONG_TEXT, TEXTS, tiny_checkpoint
from transformers import AutoModelForMaskedLM, AutoTokenizer

from saelex.encoder.encoder import Encoder
from saelex.encoder.files.layout import SENTENCE_TRANSFORMERS_CONFIGS
from saelex.errors import InputError, MismatchError
from saelex.vectors import SparseRows

MIXED = [*TEXTS, LONG_TEXT, LONG_TEXT * 3]


def assert_same(theirs: torch.Tensor, ours: SparseRows) -> None:
    np.testing.assert_allclose(theirs.to_dense().numpy(), ours.to_dense(), rtol=1e-4, atol=1e-5)


def assert_same_as_sparse_encoder(folder: Path) -> Encoder:
    model, encoder = SparseEncoder(str(folder), device="cpu"), Encoder.load(folder, device="cpu")
    assert_same(model.encode_query(MIXED), encoder.encode_query(MIXED))
    assert_same(model.encode_document(MIXED), encoder.encode_document(MIXED))
    return encoder


def save_sparse_encoder(folder: Path, checkpoint: Path, pooling: SpladePooling, **options: object) -> Path:
    model = SparseEncoder(modules=[Transformer(str(checkpoint), transformer_task="fill-mask"), pooling], **options)
    model.save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("model_type", ["bert", "distilbert", "xlm-roberta"])
def test_a_plain_masked_language_model_is_splade(model_type: str, tmp_path: Path) -> None:
    folder = tiny_checkpoint(model_type, tmp_path, language_model=True)
    encoder = assert_same_as_sparse_encoder(folder)
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logits = model(**tokenizer(TEXTS[1], return_tensors="pt")).logits[0]  # [tokens, vocabulary]
    expected = torch.log1p(torch.relu(logits).amax(0)).numpy()
    row = encoder.encode_document(TEXTS[1])
    np.testing.assert_allclose(row.to_dense()[0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(row.positions, logits.argmax(0).numpy()[row.latents])
    heaviest = encoder.decode(row, top=1)[0][0][0]
    assert heaviest == tokenizer.convert_ids_to_tokens(int(expected.argmax()))


@pytest.mark.parametrize(("strategy", "activation"), [("max", "relu"), ("sum", "relu"), ("max", "log1p_relu")])
def test_sparse_encoder_layout(strategy: str, activation: str, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint("bert", tmp_path / "bert", language_model=True)
    prompts = {"query": "wing: ", "document": "a bank "}
    pooling = SpladePooling(strategy, activation)
    folder = save_sparse_encoder(tmp_path / "model", checkpoint, pooling, prompts=prompts, max_active_dims=11)
    encoder = assert_same_as_sparse_encoder(folder)
    assert (encoder.settings.query_top_k, encoder.settings.document_top_k) == (11, 11)
    assert encoder.settings.query_prompt == "wing: "


def test_the_older_module_names_load_too(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint("bert", tmp_path / "bert", language_model=True)
    folder = save_sparse_encoder(tmp_path / "model", checkpoint, SpladePooling())
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "sentence_transformers.sparse_encoder.models.MLMTransformer"
    modules[1]["type"] = "sentence_transformers.sparse_encoder.models.SpladePooling"
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 9, "do_lower_case": false}')
    (folder / modules[1]["path"] / "config.json").write_text(
        '{"pooling_strategy": "max", "activation_function": "relu", "word_embedding_dimension": null}'
    )
    encoder = assert_same_as_sparse_encoder(folder)
    assert encoder.settings.max_document_length == 9


@pytest.fixture
def doc_only(tmp_path: Path) -> Path:
    checkpoint = tiny_checkpoint("bert", tmp_path / "bert", language_model=True)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    weight = torch.rand(len(tokenizer), generator=torch.Generator().manual_seed(3))
    weight[::5] = 0
    query = [SparseStaticEmbedding(tokenizer, weight, frozen=True)]
    document = [
        Transformer(str(checkpoint), transformer_task="fill-mask"),
        SpladePooling(activation_function="log1p_relu"),
    ]
    router = Router.for_query_document(query_modules=query, document_modules=document)
    SparseEncoder(modules=[router]).save_pretrained(str(tmp_path / "model"))
    return tmp_path / "model"


def test_doc_only_layout_has_inference_free_queries(doc_only: Path, tmp_path: Path) -> None:
    encoder = assert_same_as_sparse_encoder(doc_only)
    rows = encoder.encode_query(["wing lift wing"])
    assert rows.positions is not None
    first = encoder.tokenizer.tokenize(["wing lift wing"], "query")[0].ids
    for latent, position in zip(rows.latents, rows.positions):
        assert first.tolist().index(latent) == position
    encoder.save_pretrained(tmp_path / "ours")
    again = Encoder.load(tmp_path / "ours", device="cpu")
    assert again.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(again.encode_query(MIXED).weights, encoder.encode_query(MIXED).weights)
    model = SparseEncoder(str(tmp_path / "ours"), trust_remote_code=True, device="cpu")
    assert_same(model.encode_query([*MIXED, ""]), encoder.encode_query([*MIXED, ""]))
    assert_same(model.encode_document(MIXED), encoder.encode_document(MIXED))


def test_plain_layout_with_idf_json(tmp_path: Path) -> None:
    folder = tiny_checkpoint("bert", tmp_path, language_model=True)
    (folder / "idf.json").write_text(json.dumps({"lift": 2.5, "[CLS]": 9.0, "a": 0.5}))
    encoder = Encoder.load(folder, device="cpu")
    rows = encoder.encode_query(["lift a lift", "[CLS]"])
    vocabulary = encoder.tokenizer.tokenizer.get_vocab()
    assert rows.to_dicts() == [{vocabulary["lift"]: 2.5, vocabulary["a"]: 0.5}, {}]
    encoder.settings = replace(encoder.settings, query_prompt="a ", pool_prompt=False)
    assert encoder.encode_query("lift").to_dicts() == [{vocabulary["lift"]: 2.5}]


def test_query_weights_of_another_vocabulary_are_refused(doc_only: Path) -> None:
    tokenizer = next(doc_only.glob("query_0_*")) / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"lift"', '"lifts"'))
    with pytest.raises(MismatchError, match="tokenised differently"):
        Encoder.load(doc_only)


def test_other_modules_are_refused(tmp_path: Path) -> None:
    folder = tiny_checkpoint("bert", tmp_path)
    modules = [{"type": f"sentence_transformers.models.{name}", "path": ""} for name in ("Transformer", "Pooling")]
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match=r"Transformer \+ Pooling; supported are"):
        Encoder.load(folder)


def test_a_bare_language_model_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="from_sae"):
        Encoder.load(tiny_checkpoint("llama", tmp_path, language_model=True))


# ---- settings of modules --------------------------------------------------------------------------------------------


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    checkpoint = tiny_checkpoint("bert", tmp_path / "bert", language_model=True)
    return save_sparse_encoder(tmp_path / "model", checkpoint, SpladePooling())


def edit(path: Path, **values: Any) -> None:
    """Set keys of a JSON file, or drop them with `...`."""
    content = json.loads(path.read_text()) if path.is_file() else {}
    kept = {name: value for name, value in (content | values).items() if value is not ...}
    path.write_text(json.dumps(kept))


def in_subfolder(folder: Path) -> Path:
    """Move the language model of a SparseEncoder into a folder of its own, and return that."""
    place = folder / "0_Transformer"
    place.mkdir()
    for path in list(folder.iterdir()):
        if path.is_file() and path.name not in ("modules.json", "config_sentence_transformers.json", "README.md"):
            path.rename(place / path.name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = place.name
    (folder / "modules.json").write_text(json.dumps(modules))
    return place


@pytest.mark.parametrize("name", SENTENCE_TRANSFORMERS_CONFIGS)
def test_the_length_file_under_each_of_its_names(name: str, sparse: Path) -> None:
    place = in_subfolder(sparse) if "xlnet" in name or "albert" in name else sparse
    (place / "sentence_bert_config.json").rename(place / name)
    edit(place / name, max_seq_length=9)
    assert assert_same_as_sparse_encoder(sparse).settings.max_document_length == 9
    edit(place / name, do_lower_case=True)
    with pytest.raises(InputError, match=f"{name}: do_lower_case True is not supported"):
        Encoder.load(sparse)


def test_the_first_length_file_with_content_counts(sparse: Path) -> None:
    written = json.loads((sparse / "sentence_bert_config.json").read_text())
    (sparse / "sentence_roberta_config.json").write_text(json.dumps(written | {"max_seq_length": 11}))
    (sparse / "sentence_xlnet_config.json").write_text(json.dumps(written | {"max_seq_length": 5}))
    (sparse / "sentence_bert_config.json").write_text("{}")
    assert assert_same_as_sparse_encoder(sparse).settings.max_query_length == 11


@pytest.mark.parametrize(
    ("settings", "lengths"),
    [
        ({"query_length": 7}, (7, 64)),
        ({"document_length": 12, "max_seq_length": 30}, (30, 12)),
        ({"max_seq_length": None}, (64, 64)),
        ({"unpad_inputs": False, "processing_kwargs": {}, "config_args": {"trust_remote_code": True}}, (64, 64)),
    ],
)
def test_lengths_of_each_side(settings: dict[str, Any], lengths: tuple[int, int], sparse: Path) -> None:
    edit(sparse / "sentence_bert_config.json", **settings)
    encoder = assert_same_as_sparse_encoder(sparse)
    assert (encoder.settings.max_query_length, encoder.settings.max_document_length) == lengths


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"transformer_task": "feature-extraction"}, "transformer_task 'feature-extraction'"),
        ({"transformer_task": ...}, "transformer_task 'feature-extraction'"),
        ({"modality_config": {"message": {"method": "forward", "method_output_name": "logits"}}}, "modality_config"),
        (
            {"modality_config": {"text": {"method": "forward", "method_output_name": "hidden_states"}}},
            "modality_config",
        ),
        ({"module_output_name": "sentence_embedding"}, "module_output_name"),
        ({"processing_kwargs": {"text": {"max_length": 5}}}, "processing_kwargs"),
        ({"tokenizer_args": {"do_lower_case": False}}, "tokenizer_args"),
        ({"model_kwargs": {"dtype": "float16"}}, "model_kwargs"),
        ({"query_expansion": {"strategy": "fixed", "length": 8}}, "query_expansion"),
        ({"max_seq_length": 0}, "max_seq_length is 0, not a whole number"),
        ({"pooling": "mean"}, "'pooling' is not known"),
    ],
)
def test_settings_of_a_transformer_that_change_vectors_are_refused(
    settings: dict[str, Any], message: str, sparse: Path
) -> None:
    edit(sparse / "sentence_bert_config.json", **settings)
    with pytest.raises(InputError, match=message):
        Encoder.load(sparse)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation_function": "gelu"}, "activation 'gelu'; supported are relu, log1p_relu"),
        ({"pooling_strategy": "mean"}, "pooling 'mean'; supported are max, sum"),
        ({"threshold": 0.5}, "'threshold' is not known"),
    ],
)
def test_settings_of_the_pooling_that_are_not_known_are_refused(
    settings: dict[str, Any], message: str, sparse: Path
) -> None:
    edit(next(sparse.glob("1_SpladePooling")) / "config.json", chunk_size=3, **settings)
    with pytest.raises(InputError, match=message):
        Encoder.load(sparse)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_type": "SentenceTransformer"}, "is a SentenceTransformer; saelex loads a SparseEncoder"),
        ({"similarity_fn_name": "cosine"}, "scores by cosine"),
        ({"max_active_dims": 0}, "max_active_dims is 0, not a whole number"),
    ],
)
def test_settings_of_the_model_that_are_refused(settings: dict[str, Any], message: str, sparse: Path) -> None:
    edit(sparse / "config_sentence_transformers.json", **settings)
    with pytest.raises(InputError, match=message):
        Encoder.load(sparse)


@pytest.mark.parametrize(
    "prompts", [{"query": "wing "}, {"passage": "wing ", "corpus": "lift "}, {"query": None, "document": "a bank "}]
)
def test_prompts_are_those_that_sparse_encoder_takes(prompts: dict[str, Any], sparse: Path) -> None:
    first = {"default_prompt_name": next(iter(prompts))} if None not in prompts.values() else {}
    edit(sparse / "config_sentence_transformers.json", prompts=prompts, **first)
    assert_same_as_sparse_encoder(sparse)


def test_modules_that_are_not_understood_are_refused(sparse: Path) -> None:
    path = sparse / "modules.json"
    modules = json.loads(path.read_text())
    normalize = {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}
    for changed, message in (
        ([*modules, normalize], r"Transformer \+ SpladePooling \+ Normalize; supported are"),
        ([modules[0], modules[1] | {"type": "custom_pooling.SpladePooling"}], r"custom_pooling\.SpladePooling"),
        ([modules[0] | {"kwargs": ["task"]}, modules[1]], "kwargs of their own"),
        ([modules[0], modules[1] | {"path": "../elsewhere"}], "is no file of its own folder"),
        ([modules[0], {"type": modules[1]["type"]}], "lacks the setting"),
    ):
        path.write_text(json.dumps(changed))
        with pytest.raises(InputError, match=message):
            Encoder.load(sparse)


# ---- two sides ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("query_length", "document_length"), [(5, 40), (40, 9), (10**30, 12)])
def test_each_side_of_a_router_has_its_own_length(query_length: int, document_length: int, doc_only: Path) -> None:
    query, document = next(doc_only.glob("query_0_*")), next(doc_only.glob("document_0_*"))
    edit(query / "tokenizer_config.json", model_max_length=query_length)
    edit(document / "sentence_bert_config.json", max_seq_length=document_length)
    encoder = assert_same_as_sparse_encoder(doc_only)
    assert encoder.settings.max_document_length == document_length
    special = ["[CLS] wing [SEP]", "lift [MASK]"]  # spelt out, they are tokens of the text
    model = SparseEncoder(str(doc_only), device="cpu")
    assert_same(model.encode_query(special), encoder.encode_query(special))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("tokenizer_config.json", {"truncation_side": "left"}),
        ("tokenizer_config.json", {"split_special_tokens": True}),
        ("tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": False}),
        ("added_tokens.json", {"aircraft of": 150}),
    ],
)
def test_queries_that_are_split_in_another_way_are_refused(name: str, changes: dict[str, Any], doc_only: Path) -> None:
    edit(next(doc_only.glob("query_0_*")) / name, **changes)
    with pytest.raises(MismatchError, match="tokenised differently"):
        Encoder.load(doc_only)


def test_routes_that_are_not_understood_are_refused(doc_only: Path) -> None:
    path = doc_only / "router_config.json"
    config = json.loads(path.read_text())
    modules = json.loads((doc_only / "modules.json").read_text())
    structure = config["structure"]
    for changed, message in (
        ({"structure": structure | {"query": structure["document"]}}, "its query route is Transformer"),
        ({"structure": structure | {"document": structure["query"]}}, "its modules are SparseStaticEmbedding"),
        ({"parameters": {"route_mappings": {"('query', 'text')": "document"}}}, "route_mappings"),
        ({"parameters": {"temperature": 2}}, "'temperature' is not known"),
        ({"types": {}}, "lacks the setting 'types"),
    ):
        path.write_text(json.dumps(config | changed))
        with pytest.raises(InputError, match=message):
            Encoder.load(doc_only)
    path.write_text(json.dumps(config | {"parameters": {"default_route": "query", "allow_empty_key": False}}))
    assert_same_as_sparse_encoder(doc_only)
    normalize = {"idx": 1, "name": "1", "path": "1_Normalize", "type": "sentence_transformers.models.Normalize"}
    (doc_only / "modules.json").write_text(json.dumps([*modules, normalize]))
    with pytest.raises(InputError, match="nothing may follow a Router"):
        Encoder.load(doc_only)


def test_query_weights_in_each_kind_of_file(doc_only: Path) -> None:
    query = next(doc_only.glob("query_0_*"))
    expected = Encoder.load(doc_only, device="cpu").encode_query(MIXED)
    weight = load_file(query / "model.safetensors")["weight"]
    torch.save({"weight": weight}, query / "pytorch_model.bin")
    (query / "model.safetensors").unlink()
    encoder = assert_same_as_sparse_encoder(doc_only)
    np.testing.assert_array_equal(encoder.encode_query(MIXED).weights, expected.weights)
    edit(query / "config.json", scale=2.0)
    with pytest.raises(InputError, match="'scale' is not known"):
        Encoder.load(doc_only)


def test_plain_layout_reads_no_file_that_sparse_encoder_passes_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tiny_checkpoint("bert", tmp_path, language_model=True)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 9}')
    (folder / "config_sentence_transformers.json").write_text('{"prompts": {"query": "wing "}}')
    assert_same_as_sparse_encoder(folder)
    assert "sentence_bert_config.json is no file of a masked language model" in caplog.text
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }} lift")
    with pytest.raises(InputError, match="chat template"):
        Encoder.load(folder)


@pytest.mark.parametrize("place", ["tokenizer_config.json", "tokenizer.json"])
def test_padding_on_the_left_is_refused_where_it_moves_positions(place: str, sparse: Path, tmp_path: Path) -> None:
    """SparseEncoder then numbers the positions of a text from where its padding begins."""
    padding = {
        "strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "[PAD]",
    }  # fmt: skip
    edit(sparse / place, **({"padding": padding} if place == "tokenizer.json" else {"padding_side": "left"}))
    with pytest.raises(InputError, match="pads on the left"):
        Encoder.load(sparse)
    edit(sparse / "tokenizer_config.json", padding_side="right")
    assert_same_as_sparse_encoder(sparse)
    other = tiny_checkpoint("xlm-roberta", tmp_path / "x", language_model=True)
    edit(other / "tokenizer_config.json", padding_side="left")
    assert_same_as_sparse_encoder(other)


def test_a_module_whose_folder_is_missing_is_one_error(sparse: Path) -> None:
    modules = json.loads((sparse / "modules.json").read_text())
    for number in range(2):
        changed = [entry | ({"path": "9_Nowhere"} if i == number else {}) for i, entry in enumerate(modules)]
        (sparse / "modules.json").write_text(json.dumps(changed))
        with pytest.raises(InputError, match="no such folder"):
            Encoder.load(sparse)
