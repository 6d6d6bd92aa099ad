"""Published sparse encoders, loaded as they are: SPLADE, sentence-transformers' SparseEncoder, OpenSearch's doc-only.

Read from their files alone, without sentence-transformers. Their vectors are those of `SparseEncoder(folder)`: special
tokens are pooled and nothing is cut, unless the checkpoint sets `max_active_dims`. Only a blank text differs: here it
is an empty row. What is not supported is refused by name: a module, a setting of a module, a task.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from saelex.encoder.backbone.architectures import ARCHITECTURES
from saelex.encoder.backbone.checkpoint import Checkpoint
from saelex.encoder.files.layout import SENTENCE_TRANSFORMERS_CONFIGS, check_files
from saelex.encoder.head import Pooling, Saturation
from saelex.encoder.parts import EncoderParts, Kind
from saelex.encoder.settings import EncoderSettings
from saelex.encoder.token_weights import TokenWeights
from saelex.errors import InputError, MismatchError
from saelex.loading import Loading
from saelex.reading.json_object import JsonObject, read_json, read_json_objects
from saelex.reading.regular import file_within, is_listed, one_error

logger = logging.getLogger(__name__)

SPLADE = EncoderSettings(query_top_k=None, document_top_k=None, mask_special_tokens=False)
"""How SPLADE models are trained and published: every token pooled, every active term kept."""

_SATURATIONS: Mapping[str, Saturation] = {"relu": "log1p", "log1p_relu": "log1p_log1p"}
_POOLINGS: tuple[Pooling, ...] = ("max", "sum")
_LOGITS = {"text": {"method": "forward", "method_output_name": "logits"}}
_PACKAGE = "sentence_transformers."

# What a module's JSON file may say; any other setting is an error in sentence-transformers too.
_POOLING_SETTINGS = {
    "pooling_strategy", "activation_function", "embedding_dimension", "word_embedding_dimension", "chunk_size",
}  # fmt: skip
_STATIC_SETTINGS = {"frozen", "path"}
_ROUTER_SETTINGS = {"default_route", "allow_empty_key", "route_mappings"}
_LENGTHS = {"max_seq_length", "query_length", "document_length"}
_TRANSFORMER_FIXED = {
    "transformer_task": "fill-mask",
    "modality_config": _LOGITS,
    "module_output_name": "token_embeddings",
}
_TRANSFORMER_EMPTY = {
    "do_lower_case", "query_expansion", "processing_kwargs", "tokenizer_name_or_path",
    "model_args", "tokenizer_args", "config_args", "model_kwargs", "processor_kwargs", "config_kwargs",
}  # fmt: skip
_MODEL_SETTINGS = {
    "__version__", "requirements", "model_type", "prompts", "default_prompt_name", "similarity_fn_name",
    "max_active_dims",
}  # fmt: skip


@dataclass(frozen=True)
class _Layout:
    """Where a checkpoint keeps its parts, and what its JSON files set.

    model: settings of the whole. transformer: of the language model. token_weights: folder or file of inference-free
    query weights.
    """

    language_model: Path
    pooling: Pooling = "max"
    saturation: Saturation = "log1p"
    model: JsonObject = field(default_factory=partial(JsonObject, {}, "the model"))
    transformer: JsonObject = field(default_factory=partial(JsonObject, {}, "the model"))
    token_weights: Path | None = None


def load_checkpoint(kind: type[Kind], folder: Path, loading: Loading) -> Kind:
    """The encoder of a folder with `modules.json`, or of a masked language model with or without `idf.json`.

    Raises InputError for modules that are not SPLADE's, and for files and settings that change vectors and are not
    supported; MismatchError when query weights and vocabulary differ.
    """
    layout = _sparse_encoder(folder) if (folder / "modules.json").is_file() else _masked_language_model(folder)
    encoder = kind.from_vocabulary(
        layout.language_model,
        pooling=layout.pooling,
        saturation=layout.saturation,
        device=loading.device,
        dtype=loading.dtype,
    )
    model_type = encoder.backbone.settings["model_type"]
    if ARCHITECTURES[model_type].decoder:
        raise InputError(
            f"{folder}: SPLADE over a {model_type} decoder is not supported here; make it with Encoder.from_vocabulary"
        )
    if model_type in ("bert", "distilbert") and _pads_on_the_left(layout.language_model):
        raise InputError(
            f"{layout.language_model}: its tokenizer pads on the left, where a {model_type} gives a text other vectors "
            "beside longer texts than alone; set padding_side to right in tokenizer_config.json"
        )
    encoder.settings = _settings(layout)
    if layout.token_weights is not None:
        _add_token_weights(encoder, layout.token_weights)
    return encoder


def _masked_language_model(folder: Path) -> _Layout:
    """naver/splade-v3 and its like; OpenSearch's first doc-only models add idf.json."""
    check_files(folder, "masked language model")
    if (folder / "chat_template.jinja").is_file() or "chat_template" in _json_if_there(
        folder / "tokenizer_config.json"
    ):
        raise InputError(
            f"{folder}: its tokenizer has a chat template, which SparseEncoder would put around every text; "
            "use Encoder.from_vocabulary for the model without it"
        )
    idf = folder / "idf.json"
    return _Layout(folder, token_weights=idf if is_listed(idf) else None)


# ---- sentence-transformers' layout ----------------------------------------------------------------------------------


def _sparse_encoder(folder: Path) -> _Layout:
    path = folder / "modules.json"
    entries = read_json_objects(path)
    if any(entry.get("kwargs") for entry in entries):
        raise InputError(f"{path}: modules with kwargs of their own are not supported")
    modules = [_module(entry.text("type"), folder, entry.text("path"), str(path)) for entry in entries]
    routed = bool(modules) and modules[0][0] in ("Router", "Asym")
    if routed and len(modules) > 1:
        raise InputError(f"{folder}: its modules are {_names(modules)}; nothing may follow a Router")
    check_files(folder, "SparseEncoder", [place for _, place in modules])
    return replace(_routed(modules[0][1]) if routed else _splade(modules, folder), model=_model_settings(folder))


def _module(dotted: str, folder: Path, path: str, where: str) -> tuple[str, Path]:
    """The bare name of a module's class, if it is the library's own and so known by name, and its folder."""
    if not dotted.startswith(_PACKAGE):
        raise InputError(f"module {dotted!r} is code of the model's own, which saelex never runs; give another model")
    return dotted.rpartition(".")[2], file_within(folder, path, where)


def _routed(folder: Path) -> _Layout:
    """OpenSearch's layout: token weights for queries, SPLADE for documents."""
    paths = [folder / name for name in ("router_config.json", "config.json") if (folder / name).is_file()]
    if not paths:
        raise InputError(f"{folder}: a Router without router_config.json; fetch the model again")
    config = read_json(paths[0])
    parameters = config.object_or_none("parameters") or JsonObject({}, paths[0])
    _refuse_others(parameters, _ROUTER_SETTINGS, paths[0])
    if parameters.get("route_mappings"):
        raise InputError(f"{paths[0]}: route_mappings are not supported; queries and documents have a route each")
    types, structure = config.object("types"), config.object("structure")
    routes = {
        name: [_module(types.text(module), folder, module, config.where) for module in structure.texts(name)]
        for name in structure
    }
    query, document = routes.get("query", []), routes.get("document", [])
    if [name for name, _ in query] != ["SparseStaticEmbedding"]:
        raise InputError(f"{folder}: its query route is {_names(query)}; supported is SparseStaticEmbedding")
    return replace(_splade(document, folder), token_weights=query[0][1])


def _splade(modules: list[tuple[str, Path]], folder: Path) -> _Layout:
    names = [name for name, _ in modules]
    if names not in (["MLMTransformer", "SpladePooling"], ["Transformer", "SpladePooling"]):
        raise InputError(
            f"{folder}: its modules are {_names(modules)}; supported are a masked language model with SpladePooling, "
            "and a Router with SparseStaticEmbedding queries"
        )
    language_model, pooling = (place for _, place in modules)
    if language_model != folder:
        check_files(language_model, "SparseEncoder")
    check_files(pooling, "SpladePooling")
    path = pooling / "config.json"
    config = _json_if_there(path)
    _refuse_others(config, _POOLING_SETTINGS, path)
    activation, strategy = config.text_or("activation_function", "relu"), config.text_or("pooling_strategy", "max")
    if activation not in _SATURATIONS:
        raise InputError(f"{pooling}: activation {activation!r}; supported are {', '.join(_SATURATIONS)}")
    if strategy not in _POOLINGS:
        raise InputError(f"{pooling}: pooling {strategy!r}; supported are {', '.join(_POOLINGS)}")
    task = "fill-mask" if names[0] == "MLMTransformer" else "feature-extraction"
    transformer = _transformer_settings(language_model, task)
    return _Layout(language_model, strategy, _SATURATIONS[activation], transformer=transformer)


def _transformer_settings(folder: Path, task: str) -> JsonObject:
    """The lengths of a language model's module. task: what it does where its file does not say."""
    configs = ((name, _json_if_there(folder / name)) for name in SENTENCE_TRANSFORMERS_CONFIGS)
    first = SENTENCE_TRANSFORMERS_CONFIGS[0]
    name, config = next(((name, config) for name, config in configs if config), (first, JsonObject({}, folder / first)))
    path = folder / name
    _refuse_others(config, {*_LENGTHS, *_TRANSFORMER_FIXED, *_TRANSFORMER_EMPTY, "unpad_inputs"}, path)
    for setting, supported in _TRANSFORMER_FIXED.items():
        value = config.get(setting, task if setting == "transformer_task" else supported)
        if value != supported:
            raise InputError(f"{path}: {setting} {value!r}; a SPLADE model has {supported!r}")
    for setting in sorted(_TRANSFORMER_EMPTY):
        value = config.get(setting)
        # sentence-transformers takes no trust from a file either
        if {**value, "trust_remote_code": None} != {"trust_remote_code": None} if isinstance(value, dict) else value:
            raise InputError(f"{path}: {setting} {value!r} is not supported; save the model without it")
    return config


def _model_settings(folder: Path) -> JsonObject:
    path = folder / "config_sentence_transformers.json"
    model = _json_if_there(path)
    if model.text_or("model_type", "SparseEncoder") != "SparseEncoder":
        raise InputError(f"{folder} is a {model['model_type']}; saelex loads a SparseEncoder")
    if model.text_or("similarity_fn_name", "dot") != "dot":
        raise InputError(f"{folder}: scores by {model['similarity_fn_name']}; sparse search needs the dot product")
    if unknown := sorted(set(model) - _MODEL_SETTINGS):
        logger.warning("%s: setting %s is not known here and has no effect", path, unknown[0])
    return model


def _settings(layout: _Layout) -> EncoderSettings:
    """Prompts, lengths and Top-K that the checkpoint's JSON files set.

    Of the prompts SparseEncoder takes "query" and "document"; its default prompt is for calls that are neither.
    """
    prompts = layout.model.object_or_none("prompts") or JsonObject({}, layout.model.where)
    length = layout.transformer.whole_or("max_seq_length", None, least=1)
    if length is None:
        length = _tokenizer_limit(layout.language_model)
    lengths = (layout.transformer.whole_or(f"{side}_length", None, least=1) for side in ("query", "document"))
    query_length, document_length = (length if own is None else own for own in lengths)
    top_k = layout.model.whole_or("max_active_dims", None, least=1)
    return replace(
        SPLADE,
        query_prompt=prompts.text_or("query", ""),
        document_prompt=prompts.text_or("document", ""),
        max_query_length=query_length,
        max_document_length=document_length,
        query_top_k=top_k,
        document_top_k=top_k,
    )


def _pads_on_the_left(folder: Path) -> bool:
    side = _json_if_there(folder / "tokenizer_config.json").text_or("padding_side", None)
    if side is None:
        padding = _json_if_there(folder / "tokenizer.json").object_or_none("padding")
        side = "right" if padding is None else padding.text_or("direction", "right").lower()
    return side == "left"


def _tokenizer_limit(folder: Path) -> int | None:
    """The tokenizer's own length limit; a huge number stands for none."""
    config = _json_if_there(folder / "tokenizer_config.json")
    name = "model_max_length" if config.get("model_max_length") is not None else "max_len"
    return None if config.number_or(name, 1e9) >= 1e9 else config.whole(name, least=1)


# ---- inference-free queries -----------------------------------------------------------------------------------------


def _add_token_weights(encoder: EncoderParts, source: Path) -> None:
    """Query weights per token: a SparseStaticEmbedding's folder, or OpenSearch's JSON file of token: weight."""
    if source.is_dir():
        weight = _static_weights(encoder, source)
        limit = _tokenizer_limit(source)
    else:
        weight = _weights_of_tokens(encoder, source)
        # as OpenSearch reads queries: framed and cut like documents, with no weight for the frame
        special = torch.from_numpy(encoder.tokenizer.special_ids)
        weight[special[special < len(weight)]] = 0  # a text that has a token beyond them is refused
        framing = encoder.tokenizer.tokenizer.num_special_tokens_to_add(False)
        limit = min(encoder.settings.max_query_length or encoder.backbone.max_length, encoder.backbone.max_length)
        limit -= framing
    if encoder.settings.query_top_k is not None and bool((weight < 0).any()):
        raise InputError(f"{source}: query weights below zero and max_active_dims together are not supported")
    encoder.token_weights = TokenWeights(weight.numpy())
    encoder.settings = replace(encoder.settings, max_query_length=limit)


def _static_weights(encoder: EncoderParts, source: Path) -> torch.Tensor:
    check_files(source, "SparseStaticEmbedding")
    config = _json_if_there(source / "config.json")
    _refuse_others(config, _STATIC_SETTINGS, source / "config.json")
    _check_same_tokenizer(source, encoder)
    path = str(config.get("path") or "")
    if path.endswith(".json"):
        return _weights_of_tokens(encoder, source / Path(path).name)
    weight = Checkpoint(source).tensors({"weight": "weight"}, torch.float32)["weight"]
    if weight.shape != (encoder.n_latents,):
        raise MismatchError(f"{source}: {list(weight.shape)} query weights for a vocabulary of {encoder.n_latents}")
    return weight


def _weights_of_tokens(encoder: EncoderParts, path: Path) -> torch.Tensor:
    weight = torch.zeros(encoder.n_latents)
    values = read_json(path)
    for token in values:
        index = encoder.tokenizer.tokenizer.token_to_id(token)
        if index is None or index >= len(weight):
            raise MismatchError(f"{path}: token {token!r} is not in the model's vocabulary")
        weight[index] = values.number(token)
    return weight


def _check_same_tokenizer(source: Path, encoder: EncoderParts) -> None:
    """Raises MismatchError unless the queries' own tokenizer splits texts as the documents' does."""
    from transformers import AutoTokenizer

    if not any(is_listed(source / name) for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt")):
        raise InputError(f"{source} holds no tokenizer; fetch the model again")
    with one_error(source, "a folder with a readable tokenizer"):
        query = AutoTokenizer.from_pretrained(str(source), local_files_only=True, trust_remote_code=False)
    document = encoder.backbone.tokenizer
    if _splitting(query) != _splitting(document):
        raise MismatchError(f"{source}: queries and documents are tokenised differently, which is not supported")


def _splitting(tokenizer: Any) -> Any:
    """All that decides the tokens of a text, but for framing and length."""
    pipeline = json.loads(tokenizer.backend_tokenizer.to_str())
    kept = {name: pipeline[name] for name in ("added_tokens", "normalizer", "pre_tokenizer", "model")}
    return kept, tokenizer.truncation_side, tokenizer.split_special_tokens


def _json_if_there(path: Path) -> JsonObject:
    return read_json(path) if is_listed(path) else JsonObject({}, path)


def _refuse_others(config: Mapping[str, Any], known: set[str], path: Path) -> None:
    if unknown := sorted(set(config) - known):
        raise InputError(f"{path}: setting {unknown[0]!r} is not known here; a newer sentence-transformers wrote it")


def _names(modules: list[tuple[str, Path]]) -> str:
    return " + ".join(name for name, _ in modules) or "empty"
