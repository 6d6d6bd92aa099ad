"""What BERT's config.json says of the encoder, read without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from saelex.errors import InputError
from saelex.reading.json_object import JsonObject, settings_from

Activation = TypeVar("Activation")


def named_activation(activations: Mapping[str, Activation], name: str) -> Activation:
    """The activation of a config's `hidden_act`; InputError for a name that is not among them."""
    if name not in activations:
        raise InputError(f"unknown activation {name!r} in config.json; supported are {', '.join(activations)}")
    return activations[name]


class BertSettings(NamedTuple):
    """The part of BERT's config.json that the encoder needs, with transformers' defaults."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12

    @classmethod
    def from_config(cls, settings: Mapping[str, Any]) -> BertSettings:
        """Raises InputError for values that make no model, and for relative positions, which transformers 5 skips."""
        if settings.get("position_embedding_type", "absolute") != "absolute":
            raise InputError(
                f"unsupported position_embedding_type {settings['position_embedding_type']!r} in config.json"
            )
        given = {name: settings[name] for name in cls._fields if settings.get(name) is not None}
        held = JsonObject(given, settings.where if isinstance(settings, JsonObject) else "config.json")
        made = settings_from(cls, held)
        for name, value in made._asdict().items():
            if isinstance(value, int) and not 0 < value < 1 << 31:
                raise held.wrong(name, "a size")
        if made.hidden_size % made.num_attention_heads:
            raise InputError(
                f"{held.where}: {made.hidden_size} dimensions for {made.num_attention_heads} heads; fetch it again"
            )
        if not 0 < made.layer_norm_eps < 1:
            raise held.wrong("layer_norm_eps", "a small positive number")
        if not all(0 <= share <= 1 for share in (made.hidden_dropout_prob, made.attention_probs_dropout_prob)):
            raise InputError(f"{held.where}: dropout is a share from 0 to 1; fetch the file again")
        return made
