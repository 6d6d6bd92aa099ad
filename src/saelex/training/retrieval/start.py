"""The encoder that a recipe starts from, with the parameters that learn made ready."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.dropout import set_dropout
from saelex.encoder.backbone.vocabulary import load_transform, load_vocabulary
from saelex.encoder.batching import pack, pad
from saelex.encoder.encoder import Encoder
from saelex.encoder.head import LinearHead
from saelex.encoder.pooling.devices import operations_of
from saelex.encoder.pooling.fused import linear_max
from saelex.encoder.settings import EncoderSettings
from saelex.errors import InputError
from saelex.loading import LoadingOptions
from saelex.sae.activations import Activation, ReLU, TopK
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.training.lora import add_adapters
from saelex.training.retrieval.settings import ModelRecipe, TuneRecipe

if TYPE_CHECKING:
    from peft import PeftModel


def starting_encoder(model: ModelRecipe, settings: EncoderSettings, device: torch.device | str) -> Encoder:
    """The untrained encoder of a recipe. Raises what `Encoder.load` and `Encoder.from_sae` raise."""
    if model.encoder:
        encoder = Encoder.load(model.encoder, device=device, dtype=model.dtype)
        encoder.settings = settings
    else:
        made = {"sae": _from_sae, "vocabulary": _from_vocabulary, "random": _from_nothing}[model.head]
        encoder = made(model, settings, device)
    if model.token_k is not None:
        encoder.head.activation = _per_token(encoder.head, model.token_k)
    return encoder


def prepare(
    encoder: Encoder, tune: TuneRecipe, *, seed: int = 0, gradient_checkpointing: bool = False
) -> PeftModel | None:
    """Freeze what does not learn, add adapters, and set dropout; in place. Returns what knows of the adapters."""
    backbone, head = encoder.backbone, encoder.head
    if tune.dropout is not None:
        set_dropout(backbone.model, tune.dropout)
    backbone.requires_grad_(tune.backbone == "full")
    adapted = add_adapters(backbone.model, tune.lora, seed=seed) if tune.backbone == "lora" else None
    if tune.head and tune.backbone != "full" and _tied(encoder):
        # the input embedding stays as it is: only the head's own copy learns
        head.weight = nn.Parameter(head.weight.detach().clone())
    for name, parameter in head.named_parameters():
        # a weight tied to the embedding learns with the backbone
        if parameter is not head.weight or not _tied(encoder):
            parameter.requires_grad_(tune.head and not _fixed(name))
    head.alpha.requires_grad_(tune.alpha)
    if gradient_checkpointing:
        enable: Any = backbone.model.gradient_checkpointing_enable
        enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if not any(parameter.requires_grad for module in (backbone, head) for parameter in module.parameters()):
        raise InputError("nothing learns: set tune.backbone to lora or full, or tune.head to true")
    return adapted


@torch.no_grad()
def start_sparse(encoder: Encoder, texts: Sequence[str], active: int) -> None:
    """Shift the head's bias by one number so that the texts have `active` latents each, in the mean; in place."""
    tokenized = [text for text in encoder.tokenizer.tokenize(texts, "document") if len(text.ids)]
    maxima = []
    for text in tokenized:
        batch = pad([text], encoder.backbone.pad_id, encoder.device)
        packed = pack(encoder.backbone(batch.input_ids, batch.attention_mask), batch.pooled, encoder.settings.sink_norm)
        hidden = encoder.head.transform(packed.hidden)
        maxima.append(linear_max(hidden, packed.offsets, encoder.head, operations_of(hidden, encoder.head))[0])
    every = torch.cat(maxima).flatten()  # [texts x latents]
    encoder.head.bias.sub_(every.topk(min(len(tokenized) * active + 1, len(every))).values[-1])


def _from_sae(model: ModelRecipe, settings: EncoderSettings, device: torch.device | str) -> Encoder:
    if not model.sae:
        raise InputError("model.head is sae, but the recipe names none: set model.sae")
    return Encoder.from_sae(
        model.backbone,
        SparseAutoencoder.load(model.sae, model.sae_file, decoder=False),
        model.layer,
        pooling=model.pooling,
        saturation=model.saturation,
        transform=model.transform or None,
        bidirectional=model.bidirectional,
        settings=settings,
        **_loading(model, device),
    )


def _from_vocabulary(model: ModelRecipe, settings: EncoderSettings, device: torch.device | str) -> Encoder:
    vocabulary = load_vocabulary(model.backbone, bidirectional=model.bidirectional, **_loading(model, device))
    return Encoder.from_vocabulary(vocabulary, pooling=model.pooling, saturation=model.saturation, settings=settings)


def _from_nothing(model: ModelRecipe, settings: EncoderSettings, device: torch.device | str) -> Encoder:
    backbone = Backbone.load(
        model.backbone,
        layer=model.layer,
        output="final" if model.transform else "residual",
        bidirectional=model.bidirectional,
        **_loading(model, device),
    )
    transform = load_transform(backbone) if model.transform else None
    # as SAE-SPLADE's encoder begins (kaiming_uniform, a = sqrt 5, over d_model), but never trained on states
    weight = torch.empty(model.n_latents, backbone.d_model, device=device)
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5), mode="fan_in")
    bias = torch.zeros(model.n_latents, device=device)
    head = LinearHead(weight, bias, ReLU(), transform=transform, pooling=model.pooling, saturation=model.saturation)
    return Encoder(backbone, head, settings, description={"sae": "none: latents drawn at random"})


def _loading(model: ModelRecipe, device: torch.device | str) -> LoadingOptions:
    return {"device": device, "dtype": model.dtype, "revision": model.revision}


def _per_token(head: LinearHead, k: int) -> Activation:
    if not isinstance(head.activation, (TopK, ReLU)):
        raise InputError(
            f"model.token_k is for TopK, vocabulary and random heads; this SAE's gate is "
            f"{type(head.activation).__name__}, so leave it out"
        )
    if not 1 <= k <= head.n_latents:
        raise InputError(f"model.token_k is from 1 to the {head.n_latents} latents, not {k}")
    return TopK(k)


def _tied(encoder: Encoder) -> bool:
    return any(encoder.head.weight is parameter for parameter in encoder.backbone.parameters())


def _fixed(name: str) -> bool:
    """The encoder scale of an SAE and the thresholds of a JumpReLU belong to the gate, which stays as it is."""
    return name == "scale" or name.startswith("activation.")
