"""Published sparse encoders, loaded as they are: SPLADE, sentence-transformers' SparseEncoder, OpenSearch's doc-only.

Read from their files alone, without sentence-transformers. Their vectors are those of `SparseEncoder(folder)`: special
tokens are pooled and nothing is cut, unless the checkpoint sets `max_active_dims`. Only a blank text differs: here it
is an empty row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import torch

from saelex.encoder.head import Pooling, Saturation
from saelex.encoder.parts import EncoderParts, Kind
from saelex.encoder.settings import EncoderSettings
from saelex.encoder.token_weights import TokenWeights
from saelex.errors import InputError, MismatchError
from saelex.loading import Loading
from saelex.reading.json_object import JsonObject, read_json, read_json_objects
from saelex.reading.regular import file_within, is_listed
from saelex.reading.tensors import SafetensorsFile
from saelex.reading.tokenizer_file import read_tokenizer

SPLADE = EncoderSettings(query_top_k=None, document_top_k=None, mask_special_tokens=False)
"""How SPLADE models are trained and published: every token pooled, every active term kept."""

_SATURATIONS: Mapping[str, Saturation] = {"relu": "log1p", "log1p_relu": "log1p_log1p"}


@dataclass(frozen=True)
class _Layout:
    """Where a checkpoint keeps its parts. token_weights: folder or file of inference-free query weights."""

    language_model: Path
    pooling: Pooling = "max"
    saturation: Saturation = "log1p"
    token_weights: Path | None = None


def load_checkpoint(kind: type[Kind], folder: Path, loading: Loading) -> Kind:
    """The encoder of a folder with `modules.json`, or of a masked language model with or without `idf.json`.

    Raises InputError for modules that are not SPLADE's, MismatchError when query weights and vocabulary differ.
    """
    layout = _sparse_encoder(folder) if (folder / "modules.json").is_file() else _masked_language_model(folder)
    encoder = kind.from_vocabulary(
        layout.language_model,
        pooling=layout.pooling,
        saturation=layout.saturation,
        settings=_settings(folder, layout.language_model),
        device=loading.device,
        dtype=loading.dtype,
    )
    if layout.token_weights is not None:
        encoder.token_weights = _token_weights(layout.token_weights, encoder)
    return encoder


def _masked_language_model(folder: Path) -> _Layout:
    """naver/splade-v3 and its like; OpenSearch's first doc-only models add idf.json."""
    idf = folder / "idf.json"
    return _Layout(folder, token_weights=idf if is_listed(idf) else None)


def _sparse_encoder(folder: Path) -> _Layout:
    path = folder / "modules.json"
    modules = [
        (_class_name(entry.text("type")), file_within(folder, entry.text("path"), str(path)))
        for entry in read_json_objects(path)
    ]
    if modules and modules[0][0] in ("Router", "Asym"):
        return _routed(modules[0][1])
    return _splade(modules, folder)


def _routed(folder: Path) -> _Layout:
    """OpenSearch's layout: token weights for queries, SPLADE for documents."""
    found = [folder / name for name in ("router_config.json", "config.json") if (folder / name).is_file()]
    if not found:
        raise InputError(f"{folder}: a Router without router_config.json; fetch the model again")
    config = read_json(found[0])
    types, structure = config.object("types"), config.object("structure")
    routes = {
        name: [
            (_class_name(types.text(module)), file_within(folder, module, config.where))
            for module in structure.texts(name)
        ]
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
    config = read_json(modules[1][1] / "config.json")
    activation = config.text_or("activation_function", "relu")
    if activation not in _SATURATIONS:
        raise InputError(f"{modules[1][1]}: activation {activation!r}; supported are {', '.join(_SATURATIONS)}")
    pooling = config.text_or("pooling_strategy", "max")
    if pooling not in get_args(Pooling):
        raise config.wrong("pooling_strategy", " or ".join(get_args(Pooling)))
    return _Layout(modules[0][1], pooling, _SATURATIONS[activation])  # type: ignore[arg-type]


def _settings(folder: Path, language_model: Path) -> EncoderSettings:
    """Prompts, lengths and Top-K that the checkpoint's JSON files set."""
    model = _json_if_there(folder / "config_sentence_transformers.json")
    if model.text_or("similarity_fn_name", "dot") != "dot":
        raise InputError(f"{folder}: scores by {model['similarity_fn_name']}; sparse search needs the dot product")
    transformer = _json_if_there(language_model / "sentence_bert_config.json")
    if transformer.flag_or("do_lower_case", False):
        raise InputError(f"{language_model}: do_lower_case outside the tokenizer is not supported")
    prompts = model.object_or_none("prompts") or JsonObject({}, model.where)
    documents = (prompts.text_or(name, None) for name in ("document", "passage", "corpus"))
    length = transformer.whole_or("max_seq_length", None, least=1) or _tokenizer_limit(language_model)
    top_k = model.whole_or("max_active_dims", None, least=1)
    return replace(
        SPLADE,
        query_prompt=prompts.text_or("query", ""),
        document_prompt=next((prompt for prompt in documents if prompt is not None), ""),
        max_query_length=length,
        max_document_length=length,
        query_top_k=top_k,
        document_top_k=top_k,
    )


def _tokenizer_limit(folder: Path) -> int | None:
    """The tokenizer's own length limit; a huge number stands for none."""
    limits = _json_if_there(folder / "tokenizer_config.json")
    unlimited = limits.number_or("model_max_length", 1e9) >= 1e9
    return None if unlimited else limits.whole("model_max_length", least=1)


def _token_weights(source: Path, encoder: EncoderParts) -> TokenWeights:
    """Query weights per token: a SparseStaticEmbedding's folder, or a JSON file of token: weight."""
    tokenizer = encoder.tokenizer.tokenizer
    if source.is_dir():
        _check_same_vocabulary(source, encoder)
        path = _json_if_there(source / "config.json").text_or("path", None)
        if path is None:
            weight = SafetensorsFile(source / "model.safetensors").weights("weight")
            return TokenWeights(_fit(weight, encoder.n_latents, source))
        source = source / Path(path).name
        if not source.is_file():
            raise InputError(f"{source} is missing; fetch the model again")
    weight = torch.zeros(encoder.n_latents)
    values = read_json(source)
    for token in values:
        index = tokenizer.token_to_id(token)
        if index is None:
            raise MismatchError(f"{source}: token {token!r} is not in the model's vocabulary")
        weight[index] = values.number(token)
    return TokenWeights(weight)


def _fit(weight: torch.Tensor, n_latents: int, source: Path) -> torch.Tensor:
    if weight.shape != (n_latents,):
        raise MismatchError(f"{source}: {list(weight.shape)} query weights for a vocabulary of {n_latents}")
    return weight


def _check_same_vocabulary(source: Path, encoder: EncoderParts) -> None:
    path = source / "tokenizer.json"
    if is_listed(path) and read_tokenizer(path).get_vocab() != encoder.tokenizer.tokenizer.get_vocab():
        raise MismatchError(f"{source}: queries and documents are tokenised differently, which is not supported")


def _json_if_there(path: Path) -> JsonObject:
    return read_json(path) if is_listed(path) else JsonObject({}, path)


def _class_name(dotted: str) -> str:
    return dotted.rpartition(".")[2]


def _names(modules: list[tuple[str, Path]]) -> str:
    return " + ".join(name for name, _ in modules) or "empty"
