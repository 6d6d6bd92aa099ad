"""Low-rank adapters (LoRA, Hu et al. 2021) while a model trains; `encoder.low_rank` keeps what they have learnt."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from saelex.errors import InputError
from saelex.installation import needs_extra

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import nn

_BLOCK = re.compile(r"\.(\d+)\.")  # in a layer's name: h.3.attn, encoder.layer.3.output.dense


@dataclass(frozen=True)
class LoraRecipe:
    """Low-rank adapters on the backbone's linear layers; merged into the weights at the end."""

    rank: int = 64
    """Rank of every update."""
    alpha: float = 128.0
    """Updates are scaled by alpha / rank."""
    dropout: float = 0.0
    """Of the adapters' input."""
    targets: list[str] = field(default_factory=list)
    """Names of the linear modules; empty is all linear layers of the blocks."""
    first_block: int = 0
    """Adapt this block, from 0, and those above. Those below compute no gradient and keep nothing for one."""


def add_adapters(model: nn.Module, lora: LoraRecipe, *, seed: int, within: str = "") -> PeftModel:
    """Put adapters on a model's linear layers in place, drawn by the seed; nothing else learns from then on.

    within: prefix of the layers' names, such as "bert." where a head lies beside the blocks.
    Returns peft's wrapper, which knows how to end it. Raises InputError as `adapted_layers` does.
    """
    import torch

    chosen = adapted_layers(model, lora, within)
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise needs_extra("LoRA", "peft", "train") from error
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=list(chosen))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def adapted_layers(model: nn.Module, lora: LoraRecipe, within: str = "") -> dict[str, nn.Linear]:
    """The layers that `add_adapters` adapts, by name.

    Raises InputError where no layer has a target's name, and where no block is as high as the first to be adapted.
    """
    from torch import nn

    layers = {
        name: module
        for name, module in model.named_modules()
        if name.startswith(within) and isinstance(module, nn.Linear)
    }
    chosen = {name: one for name, one in layers.items() if not lora.targets or name.rsplit(".", 1)[-1] in lora.targets}
    if not chosen:
        known = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in layers}))
        raise InputError(f"lora.targets names no linear layer of this model; it has {known}")
    if not (above := {name: one for name, one in chosen.items() if block_of(name) >= lora.first_block}):
        highest = max(map(block_of, chosen))
        raise InputError(f"lora.first_block is {lora.first_block}, and the highest block {highest}; lower it")
    return above


def block_of(name: str) -> int:
    """The number of the block in which a layer lies; that of a layer outside the blocks is 0."""
    found = _BLOCK.search(name)
    return 0 if found is None else int(found.group(1))
