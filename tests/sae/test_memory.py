from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from saelex.encoder.backbone.architectures import ARCHITECTURES
from saelex.encoder.head import LinearHead
from saelex.sae.activations import Activation, JumpReLU, ReLU, TopK
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.catalogue import models
from saelex.sae.config import SaeConfig
from saelex.sae.memory import BaseModel, head_bytes

MEASURED = [name for name, model in models().items() if model.parameters(0) is not None]


def counted(model: BaseModel, layer: int) -> int:
    """Parameters of transformers' own model with the catalogue's numbers as its config, cut after the layer."""
    config = AutoConfig.for_model(
        model.type,
        hidden_size=model.d_model,
        intermediate_size=model.mlp,
        num_hidden_layers=layer + 1,
        num_attention_heads=model.heads,
        num_key_value_heads=model.kv_heads,
        head_dim=model.head_dim,
        vocab_size=model.vocabulary,
        layer_types=["full_attention"] * (layer + 1),
    )
    with torch.device("meta"):
        whole = AutoModel.from_config(config)
    whole.norm = nn.Identity()  # no SAE reads states after the final norm
    return sum(parameter.numel() for parameter in whole.parameters())


@pytest.mark.parametrize("name", MEASURED)
def test_parameters_of_a_cut_backbone_are_those_transformers_builds(name: str) -> None:
    model = models()[name]
    assert [model.parameters(layer) for layer in (0, 2)] == [counted(model, layer) for layer in (0, 2)]


def test_sizes_are_known_for_just_the_backbones_that_encoders_read() -> None:
    for model in models().values():
        assert (model.parameters(0) is not None) == (model.type in ARCHITECTURES), model.name


@pytest.mark.parametrize(
    ("name", "billions"),
    [  # as the publishers count them, all blocks and the embedding once
        ("google/gemma-2-2b", 2.6),
        ("google/gemma-2-9b", 9.2),
        ("google/gemma-3-270m", 0.27),
        ("google/gemma-3-1b-pt", 1.0),
        ("Qwen/Qwen3-1.7B-Base", 1.7),
        ("meta-llama/Llama-3.1-8B", 8.03 - 0.525),  # its output embedding is another matrix of 128,256 x 4,096
    ],
)
def test_a_whole_model_has_the_size_in_its_name(name: str, billions: float) -> None:
    model = models()[name]
    assert model.parameters(model.blocks - 1) == pytest.approx(billions * 1e9, rel=0.05)


@pytest.mark.parametrize("gate", ["relu", "jumprelu", "topk"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_head_bytes_are_those_of_a_head(gate: str, dtype: str) -> None:
    d_model, n_latents = 24, 40
    activation: Activation = {"relu": ReLU(), "jumprelu": JumpReLU(torch.ones(n_latents)), "topk": TopK(3)}[gate]
    W = torch.zeros(d_model, n_latents, dtype=getattr(torch, dtype))
    sae = SparseAutoencoder(
        W, torch.zeros(n_latents), W.T, torch.zeros(d_model), activation, SaeConfig(d_model, n_latents)
    )
    head = LinearHead.from_sae(sae)
    held = [*head.parameters(), *head.buffers()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in held)
    assert head_bytes(d_model, n_latents, gate, dtype) == pytest.approx(size, abs=8)  # alpha, a scalar


def test_names_of_models() -> None:
    model = BaseModel("meta-llama/Llama-3.1-8B", "llama", 32, 4096, names=("meta-llama-3.1-8b",))
    called = ["Llama-3.1-8B", "/models/llama-3.1-8b/", "unsloth/Meta-Llama-3.1-8B", "meta-llama/Llama-3.1-8B"]
    assert all(model.is_called(name) for name in called)
    assert not any(model.is_called(name) for name in ("meta-llama/Llama-3.1-8B-Instruct", "Llama-3-8B", ""))
    assert BaseModel("a/b", "mamba", 3, 8).parameters(1) is None
