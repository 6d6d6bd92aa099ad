"""LoRA adapters: found beside a model's weights or given by name, and merged into a backbone's weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from saelex.encoder.backbone.architectures import Architecture
from saelex.encoder.backbone.checkpoint import Checkpoint
from saelex.encoder.backbone.packaged import open_checkpoint
from saelex.encoder.digest import json_digest
from saelex.errors import InputError, MismatchError
from saelex.files import expanded, sha256_of
from saelex.loading import Loading
from saelex.reading.regular import one_error, reason_of
from saelex.reading.tensors import SafetensorsFile, check_weights, read_pt

if TYPE_CHECKING:
    from torch import Tensor, nn

_NOTES = ("base_model_name_or_path", "revision", "peft_version", "auto_mapping", "inference_mode", "task_type")
ADAPTER_CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_ROOT = "base_model.model."
_BLOCK = re.compile(r"(?:^|\.)(?:layer|layers)\.(\d+)\.")


def open_with_adapter(model: str | Path, loading: Loading) -> tuple[Checkpoint, Checkpoint | None]:
    """A model's files, and those of the adapter that lies among them, which transformers applies as well.

    A folder or hub repository with an adapter and no config.json of its own is the model that the adapter names. Raises
    InputError where that model is not to be had.
    """
    if not _is_adapter_alone(model):
        checkpoint = open_checkpoint(model, loading)
        adapter = Checkpoint(model, checkpoint.loading, config_name=ADAPTER_CONFIG) if has_adapter(checkpoint) else None
        return checkpoint, adapter
    adapter = Checkpoint(model, loading, config_name=ADAPTER_CONFIG)
    base = adapter.settings.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise InputError(f"{model} holds an adapter that names no base model; name the base model and give adapter=...")
    try:
        return open_checkpoint(base, Loading(token=loading.token)), adapter
    except InputError as error:
        raise InputError(f"{model} holds an adapter alone, and its base model is not to be had: {error}") from error


def _is_adapter_alone(model: str | Path) -> bool:
    folder = expanded(model)
    return (folder / ADAPTER_CONFIG).is_file() and not (folder / "config.json").is_file()


def has_adapter(checkpoint: Checkpoint) -> bool:
    """Whether a peft adapter lies among a model's files."""
    try:
        return checkpoint.file(ADAPTER_CONFIG) is not None
    except InputError:  # the hub is out of reach, and the cache holds a model without one
        return False


def merge_adapter(
    model: nn.Module, files: Checkpoint, architecture: Architecture, *, blocks: int, whole: bool
) -> tuple[nn.Module, str]:
    """`model` with a peft adapter's update added to its weights, and the SHA-256 of the adapter: weights and settings.

    files: the adapter's. It may have been trained on the uncut model, bare or behind one of the architecture's prefixes
    (under a language model head): what belongs to blocks from `blocks` on is left out. whole: a language model head
    follows, so that an adapter which changes it too is refused.

    Raises InputError where there is no such adapter, MismatchError where it does not cover all modules that it names.
    """
    from peft import PeftConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    weights_path = next((path for name in _WEIGHTS if (path := files.file(name)) is not None), None)
    if weights_path is None:
        raise InputError(f"{files.model_id} holds no {_WEIGHTS[0]}; give the folder or hub id of a peft LoRA adapter")
    with one_error(files.folder / ADAPTER_CONFIG, "a readable adapter's configuration"):
        config = PeftConfig.from_pretrained(str(files.folder))
    if config.is_prompt_learning or str(getattr(config.peft_type, "value", config.peft_type)) != "LORA":
        raise InputError(f"{files.model_id}: a {config.peft_type} adapter cannot be merged here; only LoRA can")
    config.base_model_name_or_path = None  # the user has named the base model; peft warns where the two differ
    config.task_type, config.inference_mode = None, True  # a plain wrapper, not one that generates text
    weights = _weights(weights_path)
    prefix = max(
        (p for p in architecture.prefixes if any(key.startswith(_ROOT + p) for key in weights)), key=len, default=""
    )
    try:
        # under its own name, so that patterns of module names match as they did in training
        adapted = get_peft_model(_nest(model, prefix), config)
    except Exception as error:  # none of its target modules is in the model, or a setting is of the wrong type
        raise MismatchError(f"adapter {files.model_id} does not fit the backbone: {reason_of(error)}") from error
    expected = set(get_peft_model_state_dict(adapted))
    if missing := sorted(expected - set(weights)):
        raise MismatchError(
            f"adapter {files.model_id} has nothing for {missing[0].removeprefix(_ROOT)}; it was made for another model"
        )
    left_out = (name for name in set(weights) - expected if not _unread(name, _ROOT + prefix, architecture, blocks))
    tied = (name for name in expected if name.startswith(_ROOT + prefix + architecture.embedding.rpartition(".")[0]))
    if whole and (others := sorted({*left_out, *tied})):
        raise MismatchError(
            f"adapter {files.model_id} changes {others[0].removeprefix(_ROOT)}, and so the language model head; "
            "merge it with peft's merge_and_unload, save the model and give that"
        )
    with one_error(weights_path, "an adapter that fits its adapter_config.json"):
        set_peft_model_state_dict(adapted, {name: weights[name] for name in expected})
        merged: nn.Module = adapted.merge_and_unload().get_submodule(prefix.rstrip("."))
    settings = {name: value for name, value in files.settings.items() if name not in _NOTES}
    return merged, json_digest({"weights": sha256_of(weights_path), "config": settings})


def _weights(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        file = SafetensorsFile(path)
        return {name: file.weights(name) for name in file}
    return {name: check_weights(tensor, name, path) for name, tensor in read_pt(path).items()}


def _nest(model: nn.Module, prefix: str) -> nn.Module:
    """The model as the submodule that a prefix such as "model.language_model." names."""
    from torch import nn

    for name in reversed(prefix.split(".")[:-1]):
        model = nn.ModuleDict({name: model})
    return model


def _unread(name: str, root: str, architecture: Architecture, blocks: int) -> bool:
    """Whether a tensor of an adapter belongs to a part of the model that comes after the cut."""
    block = _BLOCK.search(name)
    after = ("pooler.", *((f"{architecture.final_norm}.",) if architecture.final_norm else ()))
    return (block is not None and int(block[1]) >= blocks) or name.startswith(tuple(root + part for part in after))
