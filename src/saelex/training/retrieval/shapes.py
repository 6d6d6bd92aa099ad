"""What a recipe's model is, by configuration files and known shapes alone: no weight is read.

A published model's config.json is only asked for where the catalogue of SAEs and the list below do not know its shape,
so that a plan needs no network for them, nor access to a gated model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from saelex.encoder.backbone.architectures import architecture_of
from saelex.encoder.backbone.attention import resolve_bidirectional
from saelex.encoder.backbone.backbone import build_skeleton
from saelex.encoder.backbone.checkpoint import Checkpoint
from saelex.encoder.backbone.configuration import cut_settings, model_config
from saelex.encoder.files.folder import BACKBONE, CONFIG, EMBEDDED, embedded_folder
from saelex.errors import InputError, MismatchError
from saelex.files import expanded
from saelex.loading import Loading
from saelex.reading.json_object import JsonObject, read_json
from saelex.reading.regular import is_folder, is_listed
from saelex.sae.catalogue import models, resolve
from saelex.sae.memory import BaseModel
from saelex.training.retrieval.settings import ModelRecipe

_BERT = {"vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072}
_DISTILBERT = {"model_type": "distilbert", "dim": 768, "n_layers": 6, "hidden_dim": 3072, "vocab_size": 30522}
_KNOWN: Mapping[str, Mapping[str, Any]] = {
    "google-bert/bert-base-uncased": _BERT | {"model_type": "bert"},
    "distilbert/distilbert-base-uncased": _DISTILBERT,
    "distilbert/distilbert-base-multilingual-cased": _DISTILBERT | {"vocab_size": 119_547},
    "FacebookAI/xlm-roberta-base": _BERT
    | {"model_type": "xlm-roberta", "vocab_size": 250_002, "max_position_embeddings": 514, "type_vocab_size": 1},
    "sentence-transformers/all-MiniLM-L6-v2": _BERT
    | {"model_type": "bert", "hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
    "intfloat/multilingual-e5-small": _BERT
    | {"model_type": "bert", "vocab_size": 250_037, "hidden_size": 384, "intermediate_size": 1536},
}
"""Encoders of the recipes, as their config.json has them; decoders are in the catalogue of SAEs."""


class HeadShape(NamedTuple):
    """A head without its weights.

    name: what it is, for people. tied: whether the weight is the backbone's input embedding. dtype: of the weight.
    transform: parameters of what stands before it.
    """

    name: str
    d_model: int
    n_latents: int
    gate: str
    tied: bool = False
    dtype: torch.dtype = torch.float32
    transform: int = 0

    @property
    def parameters(self) -> int:
        """Weight, unless it is the embedding's, bias and transform; thresholds and scales are no parameters."""
        return (0 if self.tied else self.n_latents * self.d_model) + self.n_latents + self.transform

    @property
    def decoder(self) -> int:
        """Parameters of the way back to states, which loss.reconstruction trains beside the head; float32."""
        return self.n_latents * self.d_model + self.d_model


class ModelShape(NamedTuple):
    """A cut backbone without its weights, and its head.

    blocks: of the whole model. layer: the last that is kept. skeleton: on the meta device. eager: whether attention
    keeps its matrices of weights.
    """

    name: str
    blocks: int
    layer: int
    bidirectional: bool
    decoder: bool
    skeleton: nn.Module
    dtype: torch.dtype
    heads: int
    eager: bool
    head: HeadShape

    @property
    def d_model(self) -> int:
        """Width of a hidden state."""
        return self.head.d_model

    @property
    def parameters(self) -> int:
        """Of the cut backbone."""
        return sum(parameter.numel() for parameter in self.skeleton.parameters())

    def linear(self) -> dict[str, nn.Linear]:
        """The backbone's linear modules by name."""
        return {name: module for name, module in self.skeleton.named_modules() if isinstance(module, nn.Linear)}


def model_shape(model: ModelRecipe) -> ModelShape:
    """The shape of a recipe's model.

    Raises InputError for a model or SAE that is neither known nor here, and for a transform that the backbone cannot
    have; MismatchError where SAE and backbone do not belong together.
    """
    if model.encoder:
        return _of_encoder(model)
    settings, stored = _settings(model.backbone, model.revision)
    if model.head == "sae":
        head, layer = _sae_head(model, settings)
    else:
        head, layer = None, model.layer
    return _shape(model, model.backbone, settings, stored, layer, head)


def _shape(
    model: ModelRecipe,
    name: str,
    settings: Mapping[str, Any],
    stored: torch.dtype,
    layer: int | None,
    head: HeadShape | None,
    bidirectional: bool | None = None,
) -> ModelShape:
    architecture, text = architecture_of(settings, name)
    config = model_config(text)
    cut, layer = cut_settings(text, config, layer, name)
    wanted = model.bidirectional if bidirectional is None else bidirectional
    dtype = Loading(dtype=model.dtype).torch_dtype or stored
    with torch.device("meta"):
        skeleton = build_skeleton(cut, "keep", dtype)
    if architecture.final_norm is not None and model.head != "vocabulary":
        setattr(skeleton, architecture.final_norm, nn.Identity())
    embedding = skeleton.get_parameter(architecture.embedding)  # [vocabulary, d_model]
    transform = 0 if architecture.decoder else embedding.shape[1] * (embedding.shape[1] + 3)
    if model.transform and architecture.decoder:
        raise InputError(f"model.transform: {name} has no masked-LM head, so no transform; leave it out")
    if head is None:
        head = _own_head(model, embedding, bool(getattr(config, "tie_word_embeddings", True)), transform, dtype)
    elif model.transform:
        head = head._replace(transform=transform)
    if head.d_model != embedding.shape[1]:
        raise MismatchError(
            f"the head {head.name} reads {head.d_model} dimensions but {name} gives {embedding.shape[1]}; "
            "use the backbone that it was made for"
        )
    return ModelShape(
        name,
        int(config.num_hidden_layers),
        layer,
        resolve_bidirectional(config, architecture.decoder, wanted, name),
        architecture.decoder,
        skeleton,
        dtype,
        int(config.num_attention_heads),
        getattr(config, "attn_logit_softcapping", None) is not None,
        head,
    )


# ---- backbones ------------------------------------------------------------------------------------------------------


def _settings(backbone: str, revision: str | None) -> tuple[Mapping[str, Any], torch.dtype]:
    """config.json of a backbone, or what is known of it, and the dtype that its weights are stored in."""
    if not is_folder(expanded(backbone)):
        known = models().get(backbone)
        if known is not None and known.heads:
            return _as_config(known), torch.bfloat16
        if backbone in _KNOWN:
            return _KNOWN[backbone], torch.float32
    settings = Checkpoint(backbone, Loading(revision=revision)).settings
    text = settings.get("text_config", settings)
    stored = getattr(torch, str(text.get("dtype") or text.get("torch_dtype") or "float32"), torch.float32)
    return settings, stored


def _as_config(known: BaseModel) -> dict[str, Any]:
    return {
        "model_type": known.type,
        "hidden_size": known.d_model,
        "num_hidden_layers": known.blocks,
        "intermediate_size": known.mlp,
        "num_attention_heads": known.heads,
        "num_key_value_heads": known.kv_heads,
        "head_dim": known.head_dim,
        "vocab_size": known.vocabulary,
    }


# ---- heads ----------------------------------------------------------------------------------------------------------


def _own_head(model: ModelRecipe, embedding: nn.Parameter, tied: bool, transform: int, dtype: torch.dtype) -> HeadShape:
    """A vocabulary or random head, of a backbone with this input embedding."""
    words, d_model = embedding.shape
    gate = "relu" if model.token_k is None else "topk"
    if model.head == "random":
        return HeadShape("random", d_model, model.n_latents, gate)
    return HeadShape("vocabulary", d_model, words, gate, tied, dtype, transform)


def _sae_head(model: ModelRecipe, settings: Mapping[str, Any]) -> tuple[HeadShape, int | None]:
    """The SAE's encoder as a head, and the layer that it reads."""
    path = expanded(model.sae)
    if path.exists():
        return _local_sae(path, model)
    entry = resolve(model.sae, model.sae_file)
    if entry is None:
        raise InputError(
            f"model.sae: {model.sae} is no folder here and no name of `saelex sae list`, so its size is not known "
            "without its weights; train it first, or give its folder"
        )
    base = str(settings.get("saelex_base_model") or model.backbone)
    if not entry.model.is_called(base):
        raise MismatchError(f"model.sae: {entry.id} was trained on {entry.model.name}, not on {base}; exchange one")
    if model.layer not in (None, entry.layer):
        raise MismatchError(f"model.layer: {entry.id} reads block {entry.layer}, not {model.layer}; leave layer out")
    stored = getattr(torch, entry.suite.dtype or "float32")
    return HeadShape(entry.id, entry.d_model, entry.n_latents, entry.suite.gate, dtype=stored), entry.layer


def _local_sae(path: Path, model: ModelRecipe) -> tuple[HeadShape, int | None]:
    """By the configuration that `saelex train-sae` and SAELens write; an SAE of another format is opened."""
    from saelex.sae.autoencoder import SparseAutoencoder
    from saelex.sae.formats.common import layer_of_hook

    folder = path / (model.sae_file or "")
    config = read_json(folder / "cfg.json") if is_listed(folder / "cfg.json") else JsonObject({}, folder)
    if {"d_in", "d_sae", "architecture", "metadata"} <= config.keys():
        stored = _dtype(config.text_or("dtype", "float32"))
        sizes = config.whole("d_in", least=1), config.whole("d_sae", least=1)
        head = HeadShape(path.name, *sizes, config.text("architecture"), dtype=stored)
        layer = layer_of_hook(config.object("metadata").text_or("hook_name", None))
    else:
        sae = SparseAutoencoder.load(path, model.sae_file, decoder=False)
        gate = type(sae.activation).__name__.lower()
        head = HeadShape(path.name, sae.config.d_model, sae.config.n_latents, gate, dtype=sae.W_enc.dtype)
        layer = sae.config.layer
    return head, layer if model.layer is None else model.layer


# ---- encoders that exist --------------------------------------------------------------------------------------------


def _of_encoder(model: ModelRecipe) -> ModelShape:
    folder = embedded_folder(model.encoder) if model.encoder in EMBEDDED else expanded(model.encoder)
    if not (folder / CONFIG).is_file():
        raise InputError(f"model.encoder: {model.encoder} is no folder with {CONFIG}; fetch or save the model first")
    config = read_json(folder / CONFIG)
    of_backbone, of_head = config.object("backbone"), config.object("head")
    name = of_backbone.text_or("model", str(folder / BACKBONE))
    settings, stored = _settings(name, of_backbone.text_or("revision", None))
    sizes = of_head.whole("d_model", least=1), of_head.whole("n_latents", least=1)
    gate = of_head.object("activation").text("kind")
    head = HeadShape(folder.name, *sizes, gate, dtype=_dtype(of_head.text("dtype")))
    return _shape(
        model, name, settings, stored, of_backbone.whole("layer"), head, of_backbone.flag_or("bidirectional", True)
    )


def _dtype(name: str) -> torch.dtype:
    return Loading(dtype=name.removeprefix("torch.")).torch_dtype or torch.float32
