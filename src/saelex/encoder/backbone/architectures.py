"""The model types that saelex reads, each covered by the tests; every other type is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from saelex.errors import InputError
from saelex.reading.json_object import JsonObject


@dataclass(frozen=True)
class Architecture:
    """Where a Hugging Face base model keeps its parts.

    decoder: trained with causal attention. embedding: the token embedding's tensor. final_norm: module after the last
    block, None where there is none. prefixes: what may stand before the base model's tensor names in a checkpoint.
    after_padding: positions are counted from behind the padding token's number, as RoBERTa does.
    """

    decoder: bool
    embedding: str
    final_norm: str | None
    prefixes: tuple[str, ...]
    after_padding: bool = False

    def max_length(self, config: Any) -> int:
        """Most tokens that a model of this configuration takes. Raises InputError where it cannot count them."""
        if not self.after_padding:
            return int(config.max_position_embeddings)
        if not isinstance(config.pad_token_id, int):
            raise InputError("config.json has no pad_token_id, from which the positions are counted; mend it")
        return int(config.max_position_embeddings) - config.pad_token_id - 1


_LLAMA_LIKE = Architecture(decoder=True, embedding="embed_tokens.weight", final_norm="norm", prefixes=("", "model."))
_WORDS = "embeddings.word_embeddings.weight"

ARCHITECTURES: Mapping[str, Architecture] = {
    "bert": Architecture(False, _WORDS, None, ("", "bert.")),
    "distilbert": Architecture(False, _WORDS, None, ("", "distilbert.")),
    "xlm-roberta": Architecture(False, _WORDS, None, ("", "roberta."), after_padding=True),
    "modernbert": Architecture(False, "embeddings.tok_embeddings.weight", "final_norm", ("", "model.")),
    "llama": _LLAMA_LIKE,
    "mistral": _LLAMA_LIKE,
    "qwen2": _LLAMA_LIKE,
    "qwen3": _LLAMA_LIKE,
    "gemma2": _LLAMA_LIKE,
    # Gemma 3 with vision keeps the text model behind one of the longer prefixes.
    "gemma3_text": Architecture(
        True, "embed_tokens.weight", "norm", ("", "model.", "language_model.model.", "model.language_model.")
    ),
}


def architecture_of(settings: Mapping[str, Any], model_id: str) -> tuple[Architecture, dict[str, Any]]:
    """The architecture for a model's config.json, and the settings of its text model.

    Raises InputError for a model type that no test covers, for quantised weights and for an encoder made causal.
    """
    held = JsonObject(settings, f"{model_id}: config.json")
    text = dict(settings)
    if settings.get("model_type") == "gemma3":  # text and vision together: only the text model is read
        text = {"model_type": "gemma3_text"} | held.object("text_config")
    model_type = str(text.get("model_type"))
    if model_type not in ARCHITECTURES:
        raise InputError(
            f"{model_id} is of model type {model_type!r:.60}; supported are {', '.join(ARCHITECTURES)} "
            "(each has its own test of cutting, attention and padding)"
        )
    if any(level.get(name) for level in (settings, text) for name in ("quantization_config", "compression_config")):
        raise InputError(f"{model_id} holds quantised weights; give the original checkpoint")
    if settings.get("configuration_files"):
        raise InputError(f"{model_id} has a config.json for every version of transformers; give one with a single one")
    if model_type == "mistral" and settings.get("layer_types"):
        raise InputError(f"{model_id} is a mistral with layer_types, which is a ministral; that is not supported")
    architecture = ARCHITECTURES[model_type]
    if text.get("is_decoder") and not architecture.decoder:
        raise InputError(
            f"{model_id} is a {model_type} turned into a decoder (is_decoder in config.json); give an encoder"
        )
    return architecture, text
