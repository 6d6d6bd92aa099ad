"""Dropout of a whole backbone, whatever its architecture calls it."""

from __future__ import annotations

from torch import nn

from saelex.errors import InputError

_ATTENTION = ("dropout", "attention_dropout")  # numbers that attention passes to its kernel: our BERT's, transformers'
_LEFT_OUT = "out_drop"  # ModernBERT builds an identity under this name where the probability is 0
_ADAPTER = "lora_dropout"  # an adapter's dropout is a setting of its own


def set_dropout(model: nn.Module, p: float) -> None:
    """Set every dropout probability of a backbone, hidden states and attention, to p; 0 trains without dropout.

    The model is then as if its config.json had said so. Adapters keep theirs. Raises InputError unless 0 <= p < 1.
    """
    if not 0 <= p < 1:
        raise InputError(f"dropout is a probability of at least 0 and less than 1, not {p}")
    for path, module in list(model.named_modules()):
        if _ADAPTER in path:
            continue
        if isinstance(module, nn.Dropout):
            module.p = p
        for name in _ATTENTION:
            value = getattr(module, name, None)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                setattr(module, name, float(p))
        if p > 0 and isinstance(getattr(module, _LEFT_OUT, None), nn.Identity):
            setattr(module, _LEFT_OUT, nn.Dropout(p))
