"""What config.json says of a language model that is cut after a block; BERT's is read without transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from saelex.encoder.backbone.bert_settings import BertSettings
from saelex.encoder.digest import json_digest
from saelex.errors import InputError
from saelex.reading.json_object import JsonObject
from saelex.reading.regular import one_error

_NOT_OF_STATES = re.compile(
    r"_?name_or_path|architectures|auto_map|(torch_)?dtype|transformers_version|use_cache|saelex_base_model|.*drop.*|"
    r"initializer_.*|gradient_checkpointing|id2label|label2id|num_labels|problem_type|output_.*|return_dict.*"
)
"""Names in config.json that no hidden state depends on: where a model comes from, how it was trained, other heads."""
_MOST_BLOCKS = 1000  # of any model; each is built before its weights are asked for


def model_config(settings: Mapping[str, Any]) -> Any:
    """A model's configuration with transformers' defaults filled in. Raises InputError for one that is none."""
    if settings["model_type"] == "bert":
        return BertSettings.from_config(settings)
    from transformers import AutoConfig

    with one_error("config.json", f"settings of a {settings['model_type']} model"):
        config = AutoConfig.for_model(**settings)
    sliding = "sliding_attention" in (getattr(config, "layer_types", None) or ())
    if sliding and not getattr(config, "sliding_window", None):
        raise InputError("config.json has layers with a sliding window, but no sliding_window; mend it")
    return config


def cut_settings(
    settings: Mapping[str, Any], config: Any, layer: int | None, model_id: str
) -> tuple[dict[str, Any], int]:
    """The settings of the model's first blocks up to `layer`, per-layer lists included, and the layer itself."""
    blocks = config.num_hidden_layers
    if type(blocks) is not int or not 0 < blocks <= _MOST_BLOCKS:
        raise InputError(f"{model_id}: config.json counts {blocks!r:.60} blocks; fetch it again")
    layer = blocks - 1 if layer is None else layer
    if not 0 <= layer < blocks:
        raise InputError(f"{model_id} has no layer {layer}; its {blocks} blocks are numbered 0 to {blocks - 1}")
    name = "n_layers" if "n_layers" in settings else "num_hidden_layers"  # DistilBERT's name, everybody else's
    cut = {**settings, name: layer + 1}
    if settings.get("layer_types"):
        cut["layer_types"] = JsonObject(settings, f"{model_id}: config.json").texts("layer_types")[: layer + 1]
    return cut, layer


def settings_digest(settings: Mapping[str, Any]) -> str:
    """sha256 over what a cut model's settings say of its hidden states, notes and training settings aside."""
    if settings["model_type"] == "bert":  # what it leaves out counts as its default, and what it adds for nothing
        settings = BertSettings.from_config(settings)._asdict()
    return json_digest({name: value for name, value in settings.items() if not _NOT_OF_STATES.fullmatch(name)})


def pad_id(settings: Mapping[str, Any], model_id: str) -> int:
    """The token that fills a batch up; masked, so any does where a model has none (Llama 3)."""
    held = JsonObject(settings, f"{model_id}: config.json")
    given = held.whole_or("pad_token_id", 0, least=-1)
    return given if 0 <= given < held.whole_or("vocab_size", given + 1) else 0
