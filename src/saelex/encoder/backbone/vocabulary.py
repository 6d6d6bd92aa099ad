"""A language model's own head, as SPLADE uses it: backbone, input transform, output embedding, bias and soft-cap."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from saelex.encoder.backbone.architectures import ARCHITECTURES, architecture_of
from saelex.encoder.backbone.attention import Window
from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.bert import activation_named
from saelex.encoder.backbone.checkpoint import Checkpoint
from saelex.encoder.backbone.configuration import model_config
from saelex.errors import InputError, MismatchError
from saelex.loading import LoadingOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


class MaskedLMTransform(nn.Module):
    """What a masked language model does before its output embedding: LayerNorm(activation(dense(x)))."""

    def __init__(
        self, d_model: int, activation: str, eps: float, *, dense_bias: bool = True, norm_bias: bool = True
    ) -> None:
        super().__init__()
        self.activation = activation
        self.dense = nn.Linear(d_model, d_model, bias=dense_bias)
        self.norm = nn.LayerNorm(d_model, eps=eps, bias=norm_bias)
        self._activate = activation_named(activation)

    def forward(self, hidden: Tensor) -> Tensor:
        transformed: Tensor = self.norm(self._activate(self.dense(hidden)))
        return transformed


class Vocabulary(NamedTuple):
    """logits = cap(transform(backbone(ids)) @ weight.T + bias), cap(x) = softcap * tanh(x / softcap) or, for None, x.

    transform: the masked LM's for encoders; identity for decoders, whose final norm the backbone has applied.
    weight: [vocabulary, d_model], the backbone's own embedding parameter where the model ties the two: where its config
        says so and its files hold no other matrix, as in transformers 5.
    bias: float32 [vocabulary], zeros where the model has none.
    """

    backbone: Backbone
    transform: nn.Module
    weight: Tensor
    bias: Tensor
    softcap: float | None


class _Names(NamedTuple):
    """Where a masked LM checkpoint keeps its head; activation and eps are the setting's name, or the value itself."""

    dense: str
    norm: str
    bias: tuple[str, ...]
    decoder: str
    activation: str
    eps: str | float


_MASKED_LM: Mapping[str, _Names] = {
    "bert": _Names(
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        ("cls.predictions.bias", "cls.predictions.decoder.bias"),
        "cls.predictions.decoder.weight",
        "hidden_act",
        "layer_norm_eps",
    ),
    "distilbert": _Names(
        "vocab_transform", "vocab_layer_norm", ("vocab_projector.bias",), "vocab_projector.weight", "activation", 1e-12
    ),
    "xlm-roberta": _Names(
        "lm_head.dense",
        "lm_head.layer_norm",
        ("lm_head.bias", "lm_head.decoder.bias"),
        "lm_head.decoder.weight",
        "gelu",
        "layer_norm_eps",
    ),
    "modernbert": _Names(
        "head.dense", "head.norm", ("decoder.bias",), "decoder.weight", "classifier_activation", "norm_eps"
    ),
}

_CAUSAL_HEADS = ("lm_head.weight", "language_model.lm_head.weight")  # the second is of older Gemma 3 with vision
_CAPPED = ("gemma2", "gemma3_text")


def load_vocabulary(
    model: str | Path,
    *,
    bidirectional: bool | None = None,
    window: Window = "keep",
    adapter: str | Path | None = None,
    **options: Unpack[LoadingOptions],
) -> Vocabulary:
    """Backbone and head of a masked or causal language model, for `LinearHead.from_vocabulary`.

    The arguments are `Backbone.load`'s. Raises its errors, and InputError for a model without a language model head.
    """
    backbone = Backbone.load(
        model,
        output="final",
        bidirectional=bidirectional,
        window=window,
        adapter=adapter,
        **options,
    )
    config = model_config(backbone.settings)
    model_type = backbone.settings["model_type"]
    tied, names = _is_tied(backbone.checkpoint, config), _MASKED_LM.get(model_type)
    weight = _output_embedding(backbone, tied, _CAUSAL_HEADS if names is None else (names.decoder,))
    if names is None:
        transform: nn.Module = nn.Identity()
        bias = torch.zeros(len(weight))
    else:
        transform = _transform(backbone, names, config)
        bias = _output_bias(backbone, tied, names, len(weight), config)
    # a key that other model types' code does not look at
    softcap = getattr(config, "final_logit_softcapping", None) if model_type in _CAPPED else None
    return Vocabulary(backbone, transform, weight, bias.to(backbone.device), softcap)


def load_transform(backbone: Backbone) -> MaskedLMTransform:
    """The transform of a backbone's masked-LM head, in its dtype and on its device: what SAE-SPLADE calls "h".

    Raises InputError for a model without a masked-LM head, and for a backbone cut before its last block or without its
    final norm: the transform reads what comes after both.
    """
    names = _MASKED_LM.get(backbone.settings["model_type"])
    if names is None:
        raise InputError(f"{backbone.model_id} has no masked-LM head, so no transform: it is a causal language model")
    architecture, whole = architecture_of(backbone.checkpoint.settings, backbone.model_id)
    if backbone.layer != (last := int(model_config(whole).num_hidden_layers) - 1):
        raise InputError(
            f"the masked-LM transform of {backbone.model_id} reads block {last}, not block {backbone.layer}; "
            "leave layer out"
        )
    if architecture.final_norm is not None and backbone.output != "final":
        raise InputError(
            f"the masked-LM transform of {backbone.model_id} reads the final norm's output; load the backbone with "
            "output='final'"
        )
    return _transform(backbone, names, model_config(backbone.settings))


def has_language_model_head(checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint predicts words: it stores a language model head, or ties a causal one to its embedding.

    Raises InputError for a model type that is not supported.
    """
    _, settings = architecture_of(checkpoint.settings, checkpoint.model_id)
    names = _MASKED_LM.get(settings["model_type"])
    if names is not None:
        return f"{names.dense}.weight" in checkpoint.weight_map
    stored = any(name in checkpoint.weight_map for name in _CAUSAL_HEADS)
    return stored or _is_tied(checkpoint, model_config(settings))


def _is_tied(checkpoint: Checkpoint, config: Any) -> bool:
    """Whether config.json ties the output embedding to the input's; of text and vision together, the outer one says."""
    default = getattr(config, "tie_word_embeddings", True)
    return bool(checkpoint.settings.get("tie_word_embeddings", default))


def _transform(backbone: Backbone, names: _Names, config: Any) -> MaskedLMTransform:
    wanted = {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in (("dense", names.dense), ("norm", names.norm))
              for kind in ("weight", "bias")}  # fmt: skip
    if backbone.settings["model_type"] == "modernbert":
        unread = {"dense.bias": not config.classifier_bias, "norm.bias": not config.norm_bias}
        wanted = {ours: theirs for ours, theirs in wanted.items() if not unread.get(ours)}
    found = {ours: backbone.checkpoint.find(theirs, ("",)) for ours, theirs in wanted.items()}
    stored = {name: key for name, key in found.items() if key is not None}
    if not {"dense.weight", "norm.weight"} <= stored.keys():
        raise InputError(f"{backbone.model_id} has no masked-LM head ({names.dense}); give the checkpoint that has one")
    transform = MaskedLMTransform(
        backbone.d_model,
        str(getattr(config, names.activation, names.activation)),
        float(getattr(config, names.eps) if isinstance(names.eps, str) else names.eps),
        dense_bias="dense.bias" in stored,
        norm_bias="norm.bias" in stored,
    )
    tensors = backbone.checkpoint.tensors(stored, backbone.dtype)
    try:
        transform.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise MismatchError(f"{backbone.model_id}: its masked-LM head does not fit config.json: {reason}") from error
    return transform.eval().to(backbone.device)


def _output_embedding(backbone: Backbone, tied: bool, names: tuple[str, ...]) -> Tensor:
    stored = next((name for name in names if name in backbone.checkpoint.weight_map), None)
    embedding = backbone.model.get_parameter(ARCHITECTURES[backbone.settings["model_type"]].embedding)
    if stored is None and tied:
        return embedding
    if stored is None:
        raise InputError(
            f"{backbone.model_id} has no language model head ({names[0]}); give the checkpoint that has one"
        )
    own = backbone.checkpoint.tensors({stored: stored}, backbone.dtype)[stored].to(backbone.device)
    return embedding if tied and torch.equal(own, embedding) else own


def _output_bias(backbone: Backbone, tied: bool, names: _Names, n_words: int, config: Any) -> Tensor:
    """BERT and XLM-R store the bias under one of two names, or both: transformers reads the second where it is there.

    Where the file has the first name alone and ties nothing, transformers 5 starts a new bias and earlier versions read
    that one: such a file is refused.
    """
    stored = [name for name in names.bias if name in backbone.checkpoint.weight_map]
    if not stored or (backbone.settings["model_type"] == "modernbert" and not config.decoder_bias):
        return torch.zeros(n_words)
    if not tied and stored[-1] != names.bias[-1]:
        raise InputError(
            f"{backbone.model_id} stores {stored[0]} without {names.bias[-1]} and ties nothing, which versions of "
            "transformers read differently; store the bias under both names"
        )
    return backbone.checkpoint.tensors({stored[-1]: stored[-1]}, torch.float32)[stored[-1]]
