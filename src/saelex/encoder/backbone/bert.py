"""BERT's encoder in plain PyTorch, under Hugging Face's parameter names.

transformers' modelling code takes two to three seconds to import, which is most of the time of a cold search with the
embedded default; this file takes none. Tests hold it equal to transformers' BertModel (Devlin et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, relu, scaled_dot_product_attention, silu
from torch.utils.checkpoint import checkpoint

from saelex.encoder.backbone.bert_settings import BertSettings, named_activation
from saelex.encoder.onednn import linear

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": gelu,
    "gelu_new": partial(gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(gelu, approximate="tanh"),
    "relu": relu,
    "silu": silu,
    "swish": silu,
}


def activation_named(name: str) -> Callable[[Tensor], Tensor]:
    """The activation of a config's `hidden_act`; InputError for a name that is not in ACTIVATIONS."""
    return named_activation(ACTIVATIONS, name)


class BertOutput(NamedTuple):
    """Named as in transformers, so that callers need not tell the two apart."""

    last_hidden_state: Tensor  # [batch, length, d_model]


class BertEncoder(nn.Module):
    """Embeddings and blocks, without the pooler; all tokens are of type 0."""

    def __init__(self, settings: BertSettings) -> None:
        super().__init__()
        self.embeddings = _Embeddings(settings)
        self.encoder = nn.ModuleDict(
            {"layer": nn.ModuleList(_Block(settings) for _ in range(settings.num_hidden_layers))}
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> BertOutput:
        """input_ids and attention_mask (1 = token, 0 = padding): [batch, length]."""
        mask = None
        if attention_mask is not None and not bool(attention_mask.all()):
            mask = attention_mask.bool()[:, None, None, :]  # [batch, 1, 1, keys]; None lets sdpa take its fastest path
        hidden = self.embeddings(input_ids)
        for block in self.encoder["layer"].children():
            hidden = block(hidden, mask)
        return BertOutput(hidden)

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None) -> None:
        """Keep only each block's input for the backward pass, which computes the block again.

        gradient_checkpointing_kwargs: options of `torch.utils.checkpoint.checkpoint`; `use_reentrant` is False unless
        given. Takes effect in training mode, where gradients are asked for.
        """
        self._set_checkpointing({"use_reentrant": False, **(gradient_checkpointing_kwargs or {})})

    def gradient_checkpointing_disable(self) -> None:
        """Keep all activations again."""
        self._set_checkpointing(None)

    def _set_checkpointing(self, options: Mapping[str, Any] | None) -> None:
        for block in self.encoder["layer"].children():
            block.checkpointing = options  # type: ignore[assignment]


class _Embedding(nn.Embedding):
    def reset_parameters(self) -> None:
        """Weights come from a checkpoint. Drawing random ones on the meta device imports torch's compiler: 1 s."""


class _Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Weights come from a checkpoint."""

    def forward(self, inputs: Tensor) -> Tensor:
        if torch.is_autocast_enabled(inputs.device.type):
            return super().forward(inputs)
        return linear(inputs, self.weight, self.bias)


class _Embeddings(nn.Module):
    def __init__(self, settings: BertSettings) -> None:
        super().__init__()
        self.word_embeddings = _Embedding(settings.vocab_size, settings.hidden_size)
        self.position_embeddings = _Embedding(settings.max_position_embeddings, settings.hidden_size)
        self.token_type_embeddings = _Embedding(settings.type_vocab_size, settings.hidden_size)
        self.LayerNorm = nn.LayerNorm(settings.hidden_size, eps=settings.layer_norm_eps)
        self.dropout = nn.Dropout(settings.hidden_dropout_prob)

    def forward(self, input_ids: Tensor) -> Tensor:
        # [batch, length, d_model]; the sum in transformers' order, so that float32 results are the same
        words = self.word_embeddings(input_ids) + self.token_type_embeddings.weight[0]
        positions = self.position_embeddings.weight[: input_ids.shape[1]]
        embedded: Tensor = self.dropout(self.LayerNorm(words + positions))
        return embedded


class _AddAndNorm(nn.Module):
    """LayerNorm(residual + dropout(dense(x)))."""

    def __init__(self, d_in: int, settings: BertSettings) -> None:
        super().__init__()
        self.dense = _Linear(d_in, settings.hidden_size)
        self.LayerNorm = nn.LayerNorm(settings.hidden_size, eps=settings.layer_norm_eps)
        self.dropout = nn.Dropout(settings.hidden_dropout_prob)

    def forward(self, inner: Tensor, residual: Tensor) -> Tensor:
        summed: Tensor = self.LayerNorm(residual + self.dropout(self.dense(inner)))
        return summed


class _SelfAttention(nn.Module):
    def __init__(self, settings: BertSettings) -> None:
        super().__init__()
        self.heads = settings.num_attention_heads
        self.dropout = settings.attention_probs_dropout_prob
        self.query = _Linear(settings.hidden_size, settings.hidden_size)
        self.key = _Linear(settings.hidden_size, settings.hidden_size)
        self.value = _Linear(settings.hidden_size, settings.hidden_size)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (
            project(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [batch, heads, length, d_head]
            for project in (self.query, self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        attended = _attention(query, key, value, mask, dropout)
        return attended.transpose(1, 2).flatten(2)  # [batch, length, d_model]


def _attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """query, key, value: [batch, heads, length, d_head]; mask: bool [batch, 1, 1, keys], True for tokens."""
    dtype = query.dtype
    if query.device.type != "cpu" or dtype not in (torch.bfloat16, torch.float16):
        return scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    # PyTorch's backward in bfloat16 takes four times as long as in float32; its forward takes the same
    with torch.autocast("cpu", enabled=False):
        query, key, value = query.float(), key.float(), value.float()
        return scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout).to(dtype)


class _Block(nn.Module):
    def __init__(self, settings: BertSettings) -> None:
        super().__init__()
        self.checkpointing: Mapping[str, Any] | None = None
        self.attention = nn.ModuleDict(
            {"self": _SelfAttention(settings), "output": _AddAndNorm(settings.hidden_size, settings)}
        )
        self.intermediate = nn.ModuleDict({"dense": _Linear(settings.hidden_size, settings.intermediate_size)})
        self.output = _AddAndNorm(settings.intermediate_size, settings)
        self.activation = activation_named(settings.hidden_act)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        if self.checkpointing is None or not self.training or not torch.is_grad_enabled():
            return self._forward(hidden, mask)
        # within the block, so that hooks on it, such as FSDP's, do not run again when it is computed again
        out: Tensor = checkpoint(self._forward, hidden, mask, **self.checkpointing)
        return out

    def _forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        hidden = self.attention["output"](self.attention["self"](hidden, mask), hidden)
        widened = self.activation(self.intermediate["dense"](hidden))  # [batch, length, intermediate_size]
        out: Tensor = self.output(widened, hidden)
        return out


def build_bert(settings: Mapping[str, Any]) -> BertEncoder:
    """An encoder without storage (on the meta device), to be filled by `load_state_dict(..., assign=True)`."""
    with torch.device("meta"):
        return BertEncoder(BertSettings.from_config(settings))
