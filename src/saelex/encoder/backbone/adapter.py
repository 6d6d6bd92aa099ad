"""LoRA adapters, merged into a backbone's weights."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from saelex.encoder.backbone.checkpoint import Checkpoint
from saelex.errors import InputError, MismatchError
from saelex.files import sha256_of
from saelex.loading import Loading
from saelex.reading.regular import one_error, reason_of
from saelex.reading.tensors import SafetensorsFile


def merge_adapter(
    model: nn.Module, adapter: str | Path, prefixes: tuple[str, ...], loading: Loading
) -> tuple[nn.Module, str]:
    """`model` with a peft adapter's update added to its weights, and the SHA-256 of the adapter's weights.

    adapter: folder or hub id. It may have been trained on the uncut model, bare or behind one of `prefixes` (under a
    language model head): what belongs to blocks beyond the cut is left out.

    Raises InputError where there is no adapter, MismatchError where it does not cover all modules that it names.
    """
    from peft import PeftConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    files = Checkpoint(adapter, loading, config_name="adapter_config.json")
    weights_path = files.file("adapter_model.safetensors")
    if weights_path is None:
        raise InputError(
            f"{adapter} holds no adapter_model.safetensors; give the folder or hub id of a peft LoRA adapter"
        )
    file = SafetensorsFile(weights_path)
    weights = {name: file.weights(name) for name in file}
    with one_error(files.folder / "adapter_config.json", "a readable adapter's configuration"):
        config = PeftConfig.from_pretrained(str(files.folder))
    config.base_model_name_or_path = None  # the user has named the base model; peft warns where the two differ
    try:
        adapted = get_peft_model(model, config)
    except Exception as error:  # none of its target modules is in the model, or a setting is of the wrong type
        raise MismatchError(f"adapter {adapter} does not fit the backbone: {reason_of(error)}") from error
    root = "base_model.model."
    chosen: dict[str, Tensor] = {}
    for name in get_peft_model_state_dict(adapted):
        stored = next((key for p in prefixes if (key := root + p + name.removeprefix(root)) in weights), None)
        if stored is None:
            raise MismatchError(
                f"adapter {adapter} has nothing for {name.removeprefix(root)}; it was made for another model"
            )
        chosen[name] = weights[stored]
    with one_error(weights_path, "an adapter that fits its adapter_config.json"):
        set_peft_model_state_dict(adapted, chosen)
        merged = adapted.merge_and_unload()
    return merged, sha256_of(weights_path)
