"""Dropout set over a whole backbone, against the same model built with that dropout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.encoder.tiny_models import DECODERS, TINY_MODELS, tiny_checkpoint
from torch import Tensor, nn

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.dropout import set_dropout
from saelex.errors import InputError

_BERT = ("hidden_dropout_prob", "attention_probs_dropout_prob")
SETTINGS = {
    "bert": _BERT,
    "xlm-roberta": _BERT,
    "distilbert": ("dropout", "attention_dropout"),
    "modernbert": ("embedding_dropout", "mlp_dropout", "attention_dropout"),
} | dict.fromkeys(DECODERS, ("attention_dropout",))


def backbone_with(model_type: str, folder: Path, p: float) -> Backbone:
    dropout = dict.fromkeys(SETTINGS[model_type], p)
    return Backbone.load(tiny_checkpoint(model_type, folder, **dropout), layer=1).train()


def states(backbone: Backbone, seed: int) -> Tensor:
    torch.manual_seed(seed)
    with torch.no_grad():
        return backbone(torch.arange(5, 45).reshape(2, 20))


@pytest.mark.parametrize("model_type", TINY_MODELS)
def test_dropout_is_as_if_the_config_had_said_so(model_type: str, tmp_path: Path) -> None:
    built = {p: backbone_with(model_type, tmp_path / str(p), p) for p in (0.0, 0.5)}
    set_later = backbone_with(model_type, tmp_path / "later", 0.0)
    for p in (0.5, 0.0, 0.5):
        set_dropout(set_later, p)
        torch.testing.assert_close(states(set_later, 1), states(built[p], 1), rtol=0, atol=0)
    assert (states(set_later, 1) - states(set_later, 2)).abs().max() > 0.1
    set_dropout(set_later, 0.0)
    torch.testing.assert_close(states(set_later, 1), states(set_later, 2), rtol=0, atol=0)


def test_adapters_keep_theirs(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    backbone = backbone_with("bert", tmp_path, 0.2)
    model = get_peft_model(backbone.model, LoraConfig(r=2, lora_dropout=0.3, target_modules=["query"]))  # type: ignore[arg-type]
    set_dropout(model, 0.1)
    probabilities = {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    assert probabilities == {0.1, 0.3}


def test_a_probability_is_asked_for() -> None:
    for p in (-0.1, 1.0, 5.0):
        with pytest.raises(InputError, match="less than 1"):
            set_dropout(nn.Dropout(0.5), p)
