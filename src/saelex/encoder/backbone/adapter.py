"""LoRA adapters, merged into a backbone's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from saelex.encoder.backbone.checkpoint import Checkpoint
from saelex.encoder.digest import json_digest
from saelex.errors import InputError, MismatchError
from saelex.files import sha256_of
from saelex.loading import Loading

_NOTES = ("base_model_name_or_path", "revision", "peft_version", "auto_mapping", "inference_mode", "task_type")


def merge_adapter(
    model: nn.Module, adapter: str | Path, prefixes: tuple[str, ...], loading: Loading
) -> tuple[nn.Module, str]:
    """`model` with a peft adapter's update added to its weights, and the SHA-256 of the adapter: weights and settings.

    adapter: folder or hub id. It may have been trained on the uncut model, bare or behind one of `prefixes` (under a
    language model head): what belongs to blocks beyond the cut is left out.

    Raises InputError where there is no adapter, MismatchError where it does not cover all modules that it names.
    """
    from peft import PeftConfig, get_peft_model, get_peft_model_state_dict, load_peft_weights, set_peft_model_state_dict

    files = Checkpoint(adapter, loading, config_name="adapter_config.json")
    weights_path = files.file("adapter_model.safetensors")
    if weights_path is None:
        raise InputError(
            f"{adapter} holds no adapter_model.safetensors; give the folder or hub id of a peft LoRA adapter"
        )
    config = PeftConfig.from_pretrained(str(files.folder))
    config.base_model_name_or_path = None  # the user has named the base model; peft warns where the two differ
    weights: dict[str, Any] = load_peft_weights(str(files.folder), device="cpu")
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:  # none of its target modules is in the model
        raise MismatchError(f"adapter {adapter} does not fit the backbone: {str(error).splitlines()[0]}") from error
    root = "base_model.model."
    chosen: dict[str, Any] = {}
    for name in get_peft_model_state_dict(adapted):
        stored = next((key for p in prefixes if (key := root + p + name.removeprefix(root)) in weights), None)
        if stored is None:
            raise MismatchError(
                f"adapter {adapter} has nothing for {name.removeprefix(root)}; it was made for another model"
            )
        chosen[name] = weights[stored]
    set_peft_model_state_dict(adapted, chosen)
    settings = {name: value for name, value in files.settings.items() if name not in _NOTES}
    return adapted.merge_and_unload(), json_digest({"weights": sha256_of(weights_path), "config": settings})
