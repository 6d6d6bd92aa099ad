"""Our own BERT in training: gradient checkpointing, and its gradients against transformers' BertModel."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from tests.encoder.tiny_models import tiny_checkpoint
from torch import Tensor, nn
from transformers import AutoModel

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.bert import BertEncoder
from saelex.encoder.backbone.dropout import set_dropout

IDS = torch.arange(5, 65).reshape(4, 15)
MASK = (torch.arange(15) < torch.tensor([[15], [3], [9], [1]])).long()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> BertEncoder:
    encoder = Backbone.load(tiny_checkpoint("bert", tmp_path_factory.mktemp("bert"))).model
    assert isinstance(encoder, BertEncoder)
    return encoder


def gradients(model: nn.Module) -> dict[str, Tensor]:
    model.zero_grad()
    torch.manual_seed(0)
    hidden = model(IDS, MASK).last_hidden_state[MASK.bool()]
    (hidden * torch.linspace(-1, 1, hidden.numel()).reshape(hidden.shape)).square().sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def blocks_run(model: BertEncoder) -> list[nn.Module]:
    """The blocks whose attention runs in one forward and backward, in order, by a hook within them."""
    seen: list[nn.Module] = []
    handles = [
        block.attention["self"].register_forward_hook(lambda module, args, out, block=block: seen.append(block))
        for block in model.encoder["layer"].children()
    ]
    gradients(model)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_are_the_same_with_checkpointing(dropout: float, model: BertEncoder) -> None:
    model = copy.deepcopy(model).train()
    set_dropout(model, dropout)
    plain = gradients(model)
    model.gradient_checkpointing_enable()
    checkpointed = gradients(model)
    assert plain.keys() == checkpointed.keys() == dict(model.named_parameters()).keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-6, atol=1e-6, msg=name)
    model.gradient_checkpointing_enable({"preserve_rng_state": False})
    other_masks = gradients(model)
    assert any((other_masks[name] - plain[name]).abs().max() > 1e-3 for name in plain) == (dropout > 0)


def test_blocks_are_computed_again_in_training_alone(model: BertEncoder) -> None:
    model = copy.deepcopy(model)
    blocks = list(model.encoder["layer"].children())
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert blocks_run(model.train()) == blocks + blocks[::-1]
    assert blocks_run(model.eval()) == blocks
    model.gradient_checkpointing_disable()
    assert blocks_run(model.train()) == blocks


@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
def test_gradients_are_transformers(bfloat16: bool, tmp_path: Path) -> None:
    """Under autocast both round to bfloat16, in other places: each lies as near to float32 as the other."""
    folder = tiny_checkpoint("bert", tmp_path)
    ours = Backbone.load(folder).model.requires_grad_()
    full = AutoModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager").double()
    wanted = gradients(full)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        found = gradients(ours)
        states = ours(IDS, MASK).last_hidden_state
        with torch.no_grad():  # what gradient caching computes first is what it differentiates later
            torch.testing.assert_close(ours(IDS, MASK).last_hidden_state, states, rtol=0, atol=0 if bfloat16 else 1e-5)
        dense = ours.encoder["layer"][0].attention["output"].dense
        assert dense(torch.ones(1, 32)).dtype == (torch.bfloat16 if bfloat16 else torch.float32)
    assert found.keys() == wanted.keys()
    norm = torch.cat([gradient.flatten() for gradient in wanted.values()]).norm()
    away = torch.cat([(found[name].double() - wanted[name]).flatten() for name in wanted]).norm() / norm
    assert away < (0.03 if bfloat16 else 1e-5)
