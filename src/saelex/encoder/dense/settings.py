"""How a dense model makes one vector of a text: by what its files say and, where they are silent, by its makers' word.

sentence-transformers writes pooling, length, prompts and similarity beside a model. What a model card alone says, such
as E5's prefixes, is in `_FAMILIES`; a bare language model says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from saelex.encoder.backbone.checkpoint import Checkpoint
from saelex.encoder.backbone.packaged import open_checkpoint
from saelex.encoder.settings import Side
from saelex.errors import InputError
from saelex.loading import Loading
from saelex.reading.json_object import JsonObject, read_json, read_json_objects

Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]

CONFIG = "config_sentence_transformers.json"
_NO_LIMIT = 1e9  # a tokenizer without a limit of length records a larger number
_PACKAGE = "sentence_transformers."
_POOLINGS: Mapping[str, Literal["mean", "cls"]] = {"mean": "mean", "cls": "cls"}
_FLAGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}  # as before version 6
# what a language model's module does unless its file says otherwise
_TRANSFORMER = {
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}
_WITHOUT_EFFECT = {"max_seq_length", "unpad_inputs"}  # the length is read by itself


@dataclass(frozen=True)
class DenseSettings:
    """What stands between a language model's hidden states and a text's vector.

    pooling: the mean over all tokens, those of the prompt and special ones included, or the state of the first;
        "other" is what only sentence-transformers computes. normalise: to unit length.
    query_prompt, document_prompt: put in front of every text of that side.
    max_length: tokens kept, special ones counted; None is the model's own limit.
    similarity: of two vectors; those of "cosine" are brought to unit length too.
    """

    pooling: Literal["mean", "cls", "other"] = "mean"
    normalise: bool = False
    query_prompt: str = ""
    document_prompt: str = ""
    max_length: int | None = None
    similarity: Similarity = "cosine"

    @property
    def unit_length(self) -> bool:
        """Whether vectors are brought to it."""
        return self.normalise or self.similarity == "cosine"

    def prompt(self, side: Side) -> str:
        """The text put in front of a query or a document."""
        return self.query_prompt if side == "query" else self.document_prompt


_BGE_EN = "Represent this sentence for searching relevant passages: "
_BGE_ZH = "为这个句子生成表示以用于检索相关文章："
_INSTRUCTED = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "

# by the name of the repository: what the authors' model cards say of retrieval
_FAMILIES: Mapping[str, DenseSettings] = {
    r"(intfloat/)?(multilingual-)?e5-(small|base|large)(-v2|-unsupervised)?": DenseSettings(
        "mean", True, "query: ", "passage: ", 512
    ),
    r"(intfloat/)?multilingual-e5-large-instruct": DenseSettings("mean", True, _INSTRUCTED, "", 512),
    r"(BAAI/)?bge-(small|base|large)-en(-v1\.5)?": DenseSettings("cls", True, _BGE_EN, "", 512),
    r"(BAAI/)?bge-(small|base|large)-zh(-v1\.5)?": DenseSettings("cls", True, _BGE_ZH, "", 512),
}
_CACHED = re.compile(r".*/models--([^/]+)--([^/]+)/snapshots/[^/]+/?")


def open_dense(model: str | Path, loading: Loading | None = None) -> Checkpoint:
    """A model's files. Those of sentence-transformers need no language model's config.json in the folder itself.

    Raises `Checkpoint`'s errors.
    """
    loading = loading or Loading()
    try:
        return open_checkpoint(model, loading)
    except InputError as error:
        try:
            return Checkpoint(model, loading, config_name=CONFIG)
        except InputError:
            raise error from None


def dense_settings(checkpoint: Checkpoint) -> DenseSettings | None:
    """Of a model by its files, or by its hub id or the name of its folder; None where neither says anything.

    Prompts in the files come before the makers' word. Raises InputError for damage.
    """
    known = _of_family(checkpoint.model_id)
    listed = checkpoint.file("modules.json")
    if listed is None:
        return known
    stored = _of_files(checkpoint, read_json_objects(listed))
    if known is None or stored.query_prompt or stored.document_prompt:
        return stored
    return replace(stored, query_prompt=known.query_prompt, document_prompt=known.document_prompt)


def _of_family(model: str) -> DenseSettings | None:
    """model: a hub id, or the path of a folder that is called like the repository or lies in the hub's cache."""
    cached = _CACHED.fullmatch(model)
    name = "/".join(cached.groups()) if cached else Path(model).name if Path(model).is_absolute() else model
    return next((own for pattern, own in _FAMILIES.items() if re.fullmatch(pattern, name)), None)


def _of_files(checkpoint: Checkpoint, modules: list[JsonObject]) -> DenseSettings:
    model = stored_json(checkpoint, CONFIG)
    prompts = model.object_or_none("prompts") or JsonObject({}, model.where)
    transformer = stored_json(checkpoint, "sentence_bert_config.json")
    if not transformer:
        transformer = stored_json(checkpoint, f"sentence_{checkpoint.settings.get('model_type')}_config.json")
    of_sentences = model.text_or("model_type", "SentenceTransformer") == "SentenceTransformer"
    plain = of_sentences and all(_is_usual(name, value) for name, value in transformer.items())
    pooling = _pooling(checkpoint, modules) if plain else "other"
    return DenseSettings(
        pooling,
        _names(modules)[-1:] == ["Normalize"],
        prompts.text_or("query", ""),
        prompts.text_or("document", ""),
        transformer.whole_or("max_seq_length", None, least=1) or _tokenizer_limit(checkpoint),
        _similarity(model),
    )


def _is_usual(name: str, value: Any) -> bool:
    return value == _TRANSFORMER[name] if name in _TRANSFORMER else name in _WITHOUT_EFFECT or not value


def _names(modules: list[JsonObject]) -> list[str]:
    types = [module.text("type") for module in modules]
    return [name.rpartition(".")[2] if name.startswith(_PACKAGE) else name for name in types]


def _pooling(checkpoint: Checkpoint, modules: list[JsonObject]) -> Literal["mean", "cls", "other"]:
    """ "other" for modules that are more than a language model, one pooling and a normalisation."""
    names = _names(modules)
    beside = modules[0].text("path") or any(module.get("kwargs") for module in modules) if modules else True
    if beside or names not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        return "other"
    path = modules[1].text("path")
    pooling = stored_json(checkpoint, f"{path}/config.json" if path else "config.json")
    if not pooling.flag_or("include_prompt", True):
        return "other"
    mode = pooling.get("pooling_mode")
    if mode is None:
        flags = [name for name, value in pooling.items() if name.startswith("pooling_mode_") and value is True]
        mode = [_FLAGS.get(name, name) for name in flags]
    if isinstance(mode, list) and len(mode) == 1:
        mode = mode[0]
    return _POOLINGS.get(mode, "other") if isinstance(mode, str) else "other"


def _tokenizer_limit(checkpoint: Checkpoint) -> int | None:
    config = stored_json(checkpoint, "tokenizer_config.json")
    if config.number_or("model_max_length", _NO_LIMIT) >= _NO_LIMIT:
        return None
    return int(config.whole("model_max_length", least=1))


def _similarity(model: JsonObject) -> Similarity:
    name = model.text_or("similarity_fn_name", "cosine")
    if name not in ("cosine", "dot", "euclidean", "manhattan"):
        raise InputError(f"{model.where}: similarity {name!r:.60} is not known here; give another model")
    return name  # type: ignore[return-value]


def stored_json(checkpoint: Checkpoint, name: str) -> JsonObject:
    """One of a model's files; empty where it has no such file."""
    path = checkpoint.file(name)
    return JsonObject({}, f"{checkpoint.model_id}: {name}") if path is None else read_json(path)
