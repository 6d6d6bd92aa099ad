"""Published sparse encoders, loaded as they are: SPLADE, sentence-transformers' SparseEncoder, OpenSearch's doc-only.

Read from their files alone, without sentence-transformers. Their vectors are those of `SparseEncoder(folder)`: special
tokens are pooled and nothing is cut, unless the checkpoint sets `max_active_dims`. Only a blank text differs: here it
is an empty row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from saelex.encoder.head import Pooling, Saturation
from saelex.encoder.parts import EncoderParts, Kind
from saelex.encoder.settings import EncoderSettings
from saelex.encoder.token_weights import TokenWeights
from saelex.errors import InputError, MismatchError
from saelex.files import read_json
from saelex.loading import Loading

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
    return _Layout(folder, token_weights=idf if idf.is_file() else None)


def _sparse_encoder(folder: Path) -> _Layout:
    modules = [(_class_name(entry["type"]), folder / entry["path"]) for entry in read_list(folder / "modules.json")]
    if modules and modules[0][0] in ("Router", "Asym"):
        return _routed(modules[0][1])
    return _splade(modules, folder)


def _routed(folder: Path) -> _Layout:
    """OpenSearch's layout: token weights for queries, SPLADE for documents."""
    found = [folder / name for name in ("router_config.json", "config.json") if (folder / name).is_file()]
    if not found:
        raise InputError(f"{folder}: a Router without router_config.json; fetch the model again")
    config = read_json(found[0])
    routes = {
        name: [(_class_name(config["types"][module]), folder / module) for module in modules]
        for name, modules in config["structure"].items()
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
    activation = config.get("activation_function", "relu")
    if activation not in _SATURATIONS:
        raise InputError(f"{modules[1][1]}: activation {activation!r}; supported are {', '.join(_SATURATIONS)}")
    return _Layout(modules[0][1], config.get("pooling_strategy", "max"), _SATURATIONS[activation])


def _settings(folder: Path, language_model: Path) -> EncoderSettings:
    """Prompts, lengths and Top-K that the checkpoint's JSON files set."""
    model = _json_if_there(folder / "config_sentence_transformers.json")
    if model.get("similarity_fn_name") not in (None, "dot"):
        raise InputError(f"{folder}: scores by {model['similarity_fn_name']}; sparse search needs the dot product")
    transformer = _json_if_there(language_model / "sentence_bert_config.json")
    if transformer.get("do_lower_case"):
        raise InputError(f"{language_model}: do_lower_case outside the tokenizer is not supported")
    prompts = model.get("prompts") or {}
    documents = (prompts.get(name) for name in ("document", "passage", "corpus"))
    length = transformer.get("max_seq_length") or _tokenizer_limit(language_model)
    top_k = model.get("max_active_dims")
    return replace(
        SPLADE,
        query_prompt=prompts.get("query") or "",
        document_prompt=next((prompt for prompt in documents if prompt is not None), ""),
        max_query_length=length,
        max_document_length=length,
        query_top_k=top_k,
        document_top_k=top_k,
    )


def _tokenizer_limit(folder: Path) -> int | None:
    """The tokenizer's own length limit; a huge number stands for none."""
    limit = _json_if_there(folder / "tokenizer_config.json").get("model_max_length")
    return int(limit) if limit is not None and limit < 1e9 else None


def _token_weights(source: Path, encoder: EncoderParts) -> TokenWeights:
    """Query weights per token: a SparseStaticEmbedding's folder, or a JSON file of token: weight."""
    tokenizer = encoder.tokenizer.tokenizer
    if source.is_dir():
        _check_same_vocabulary(source, encoder)
        path = _json_if_there(source / "config.json").get("path")
        if path is None:
            weight = load_file(source / "model.safetensors")["weight"]
            return TokenWeights(_fit(weight, encoder.n_latents, source))
        source = source / Path(path).name
        if not source.is_file():
            raise InputError(f"{source} is missing; fetch the model again")
    weight = torch.zeros(encoder.n_latents)
    for token, value in read_json(source).items():
        index = tokenizer.token_to_id(token)
        if index is None:
            raise MismatchError(f"{source}: token {token!r} is not in the model's vocabulary")
        weight[index] = float(value)
    return TokenWeights(weight)


def _fit(weight: torch.Tensor, n_latents: int, source: Path) -> torch.Tensor:
    if weight.shape != (n_latents,):
        raise MismatchError(f"{source}: {list(weight.shape)} query weights for a vocabulary of {n_latents}")
    return weight


def _check_same_vocabulary(source: Path, encoder: EncoderParts) -> None:
    from tokenizers import Tokenizer

    path = source / "tokenizer.json"
    if path.is_file() and Tokenizer.from_file(str(path)).get_vocab() != encoder.tokenizer.tokenizer.get_vocab():
        raise MismatchError(f"{source}: queries and documents are tokenised differently, which is not supported")


def read_list(path: Path) -> list[dict[str, Any]]:
    """The list of objects in a JSON file such as `modules.json`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}); fetch the model again") from error
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise InputError(f"{path} should hold a list of modules; fetch the model again")
    return content


def _json_if_there(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _class_name(dotted: str) -> str:
    """The name of a module's class, which says what it computes only where the class is sentence-transformers' own."""
    if not dotted.startswith("sentence_transformers."):
        raise InputError(f"module {dotted!r} is code of the model's own, which saelex never runs; give another model")
    return dotted.rpartition(".")[2]


def _names(modules: list[tuple[str, Path]]) -> str:
    return " + ".join(name for name, _ in modules) or "empty"
