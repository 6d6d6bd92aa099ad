"""Small random encoders for the tests, over the tiny checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tests.encoder.tiny_models import tiny_checkpoint

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.encoder import Encoder
from saelex.encoder.head import LinearHead
from saelex.encoder.settings import EncoderSettings
from saelex.sae.activations import Activation, JumpReLU

N_LATENTS = 96
SETTINGS = EncoderSettings(
    query_prompt="wing: ", document_prompt="text: ", max_query_length=12, query_top_k=7, document_top_k=20
)


def random_head(d_model: int, activation: Activation | None = None, seed: int = 1, **options: Any) -> LinearHead:
    """A head of N_LATENTS latents, about a third of them active; a JumpReLU gate unless another is given."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(N_LATENTS, d_model, generator=generator)
    bias = torch.randn(N_LATENTS, generator=generator) * 0.1
    gate = activation or JumpReLU(torch.rand(N_LATENTS, generator=generator))
    return LinearHead(weight, bias, gate, **options)


def tiny_encoder(folder: Path, model_type: str = "bert", layer: int = 2, **changes: Any) -> Encoder:
    """An encoder over a fresh tiny checkpoint in `folder`; `changes` to SETTINGS."""
    backbone = Backbone.load(tiny_checkpoint(model_type, folder), layer=layer)
    return Encoder(backbone, random_head(backbone.d_model), replace(SETTINGS, **changes))
