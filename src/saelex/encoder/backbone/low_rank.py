"""A trained low-rank update of a backbone (LoRA, arXiv 2106.09685): small enough to lie beside a named base model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from saelex.encoder.backbone.low_rank_file import FORMAT, open_low_rank
from saelex.encoder.digest import tensors_digest
from saelex.errors import InputError, MismatchError
from saelex.files import expanded, replacing

if TYPE_CHECKING:
    from peft import PeftModel

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# peft's other initialisations (PiSSA, OLoRA, CorDA, LoftQ, ...) take something off the base weights
_BASE_UNTOUCHED = (True, False, "gaussian", "eva", "orthogonal")


class Factors(NamedTuple):
    """The update B @ A of one linear module's weight [d_out, d_in]."""

    A: Tensor
    """float32 [rank, d_in]."""
    B: Tensor
    """float32 [d_out, rank], LoRA's scale (alpha / rank, or alpha / sqrt(rank) for rsLoRA) multiplied in."""


class LowRankUpdate:
    """weight += B @ A for some linear modules of a backbone; ranks may differ between modules.

    factors: by the module's name within `Backbone.model`, such as "encoder.layer.0.attention.self.query".
    dtype: what `save` stores, float32, float16 or bfloat16. Values are rounded to it here and held in float32, so that
        the update in memory and the one read back are the same.

    Raises InputError for factors that do not fit together, are not finite in `dtype`, or none at all.
    """

    def __init__(self, factors: Mapping[str, tuple[Tensor, Tensor]], dtype: torch.dtype = torch.float32) -> None:
        if dtype not in _DTYPES:
            raise InputError(f"a low-rank update is stored in float32, float16 or bfloat16, not {dtype}")
        if not factors:
            raise InputError("a low-rank update of no module at all; train without LoRA, or name its target modules")
        self.dtype = dtype
        self.factors = {name: _checked(name, *factors[name], dtype) for name in sorted(factors)}

    @property
    def rank(self) -> int:
        """The largest rank of a module's update."""
        return max(len(A) for A, _ in self.factors.values())

    def stored_as(self, dtype: torch.dtype) -> LowRankUpdate:
        """The same update, rounded to another dtype. Half precision halves the file."""
        return LowRankUpdate(self.factors, dtype)

    def __add__(self, other: LowRankUpdate) -> LowRankUpdate:
        """Both updates, one after the other: factors side by side, so that ranks add up. For training that goes on."""
        return LowRankUpdate(
            {
                name: _side_by_side([update.factors[name] for update in (self, other) if name in update.factors])
                for name in self.factors.keys() | other.factors.keys()
            },
            torch.promote_types(self.dtype, other.dtype),
        )

    def digest(self) -> str:
        """sha256 over names, shapes and float32 values."""
        return tensors_digest(self._tensors())

    @torch.no_grad()
    def merge_into(self, model: nn.Module) -> None:
        """Add the update to a model's weights: computed in float32, rounded once to the weight's dtype.

        Raises MismatchError, before anything is changed, where a module is missing or has another shape.
        """
        modules = dict(model.named_modules())
        weights = {name: _weight(modules.get(name), name, factors) for name, factors in self.factors.items()}
        for name, (A, B) in self.factors.items():
            weight = weights[name]
            wide = weight.float()  # the weight itself where that is float32 already
            wide.addmm_(B.to(weight.device), A.to(weight.device))
            if wide is not weight:
                weight.copy_(wide)

    # ---- files ------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all."""
        tensors = {name: tensor.to(self.dtype).contiguous() for name, tensor in self._tensors().items()}
        with replacing(expanded(path)) as temporary:
            save_file(tensors, temporary, metadata={"format": FORMAT})

    @classmethod
    def load(cls, path: str | Path) -> LowRankUpdate:
        """Read what `save` wrote. Raises InputError for a missing, damaged or foreign file."""
        file, modules = open_low_rank(path)
        tensors = {name: file.weights(name) for name in file}
        factors = {module: (tensors[f"{module}.A"], tensors[f"{module}.B"]) for module in modules}
        return cls(factors, next(iter(tensors.values())).dtype if tensors else torch.float32)

    def _tensors(self) -> dict[str, Tensor]:
        return {f"{name}.{key}": value for name, pair in self.factors.items() for key, value in pair._asdict().items()}

    # ---- peft -------------------------------------------------------------------------------------------------------

    @classmethod
    def from_peft(cls, model: PeftModel, dtype: torch.dtype = torch.float32) -> LowRankUpdate:
        """What the active LoRA adapters of a peft model (`get_peft_model(backbone.model, ...)`) add to its weights.

        Rank and alpha patterns and rsLoRA come along, several active adapters are added up. The base weights must be
        the ones that the update is merged into later.

        Raises InputError for what is no sum of B @ A on linear layers: DoRA and other variants, trained biases, whole
        modules or tokens, embeddings, quantised layers, and initialisations that change the base weights.
        """
        active = _active_adapters(model)
        factors: dict[str, tuple[Tensor, Tensor]] = {}
        for name, layer in _lora_layers(model):
            own = [adapter for adapter in active if adapter in layer.lora_A]
            if own:
                factors[name] = _side_by_side([_of_layer(layer, adapter, name) for adapter in own])
        return cls(factors, dtype)


def _checked(name: str, A: Tensor, B: Tensor, dtype: torch.dtype) -> Factors:
    if A.ndim != 2 or B.ndim != 2 or len(A) != B.shape[1] or not len(A):
        raise InputError(
            f"low-rank update of {name}: A is [rank, d_in] and B [d_out, rank], not {list(A.shape)} and {list(B.shape)}"
        )
    rounded = Factors(*(factor.detach().cpu().float().to(dtype).float().clone() for factor in (A, B)))
    if not all(bool(factor.isfinite().all()) for factor in rounded):
        raise InputError(f"low-rank update of {name} is not finite in {dtype}; training has diverged, or use float32")
    return rounded


def _side_by_side(pairs: list[Factors]) -> Factors:
    """B1 @ A1 + B2 @ A2 = [B1 B2] @ [A1; A2]."""
    try:
        return Factors(torch.cat([A for A, _ in pairs]), torch.cat([B for _, B in pairs], dim=1))
    except RuntimeError as error:
        raise MismatchError(f"low-rank updates of different models cannot be added ({error})") from error


def _weight(module: nn.Module | None, name: str, factors: Factors) -> Tensor:
    """The weight that the factors belong to."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor):
        raise MismatchError(f"the low-rank update has a module {name}, the backbone has none; it is of another model")
    shape = [len(factors.B), factors.A.shape[1]]
    if list(weight.shape) != shape:
        raise MismatchError(f"the low-rank update of {name} is {shape}, the backbone's weight {list(weight.shape)}")
    return weight


def _active_adapters(model: PeftModel) -> list[str]:
    """The names of the active adapters, once each is known to be plain LoRA."""
    active = list(model.active_adapters)
    for adapter in active:
        config: Any = model.peft_config[adapter]
        kind = str(getattr(config.peft_type, "value", config.peft_type))
        reasons = {
            f"it is {kind}, not LoRA": kind != "LORA",
            "it trains biases (bias)": getattr(config, "bias", "none") != "none",
            "it trains whole modules (modules_to_save)": bool(getattr(config, "modules_to_save", None)),
            "it trains tokens (trainable_token_indices)": bool(getattr(config, "trainable_token_indices", None)),
            "its initialisation changes the base weights (init_lora_weights)": (
                getattr(config, "init_lora_weights", True) not in _BASE_UNTOUCHED
            ),
        }
        for reason, applies in reasons.items():
            if applies:
                raise InputError(
                    f"adapter {adapter!r} is no low-rank update of linear weights: {reason}; "
                    "leave that out, or merge it and save with include_backbone=True"
                )
    return active


def _lora_layers(model: PeftModel) -> Iterator[tuple[str, Any]]:
    """Every layer that LoRA has wrapped, by its name within the base model."""
    from peft.tuners.lora.layer import Linear, LoraLayer

    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            if not isinstance(module, Linear) or not isinstance(module.get_base_layer(), nn.Linear):
                raise InputError(
                    f"LoRA of {name} ({type(module).__name__}) cannot be taken over; only linear layers can"
                )
            yield name, module


def _of_layer(layer: Any, adapter: str, name: str) -> Factors:
    if adapter in layer.lora_variant or layer.lora_bias.get(adapter):
        raise InputError(f"adapter {adapter!r} is more than B @ A on {name} (DoRA, another variant or lora_bias)")
    A, B = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    return Factors(A.detach().float(), B.detach().float() * layer.scaling[adapter])
