"""What an SAE consists of: what a format reads from files and writes to them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from saelex.sae.activations import Activation
from saelex.sae.config import SaeConfig
from saelex.sae.normalisation import TokenNorm


class SaeParts(NamedTuple):
    """The tensors, gate and facts of one SAE; `SparseAutoencoder` says what each of them does, and computes with them.

    The shapes are checked there, not here.
    """

    W_enc: Tensor  # [d_model, n_latents]
    b_enc: Tensor  # [n_latents]
    W_dec: Tensor | None  # [n_latents, d_model]
    b_dec: Tensor  # [d_model]
    activation: Activation
    config: SaeConfig
    apply_b_dec_to_input: bool = False
    encoder_scale: Tensor | None = None  # [n_latents]
    decoder_scale: Tensor | None = None  # [n_latents]
    input_norm: TokenNorm | None = None
