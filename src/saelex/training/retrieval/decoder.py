"""A decoder beside the head while training: the way back from latents to the states that they were made of.

x^ = relu(TopK(head(x))) W_dec + b_dec. The encoder side is the retrieval head itself; the decoder is no part of the
saved encoder.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from saelex.encoder.head import LinearHead
from saelex.errors import InputError
from saelex.sae.activations import TopK
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.topk_function import decode_topk, encode_topk
from saelex.training.retrieval.settings import ModelRecipe


class Reconstruction(NamedTuple):
    """Sums over the tokens of one process, float32; `losses.reconstruction` makes a term of them."""

    error: Tensor  # []: of ||x - x^||^2, with its gradient
    spread: Tensor  # []: of ||x - mean(x)||^2
    total: Tensor  # [d_model]: of x
    tokens: Tensor  # int64 []


class Decoder(nn.Module):
    """The decoder side of an SAE whose encoder is a retrieval head; float32, and it learns.

    W_dec: [n_latents, d_model]; b_dec: [d_model].
    """

    def __init__(self, W_dec: Tensor, b_dec: Tensor) -> None:
        super().__init__()
        self.W_dec = nn.Parameter(W_dec.detach().float().clone(memory_format=torch.contiguous_format))
        self.b_dec = nn.Parameter(b_dec.detach().float().clone())

    @classmethod
    def from_sae(cls, sae: SparseAutoencoder) -> Decoder:
        """For the head that `LinearHead.from_sae` makes: its latents are the SAE's own, before decoder_scale.

        Raises InputError where the head's latents do not decode to the states that it reads.
        """
        name = f"loss.reconstruction: the SAE {sae.config.source or ''}".rstrip()
        if sae.input_norm is not None:
            raise InputError(f"{name} decodes to normalised states ({sae.input_norm.kind}); set it to 0")
        if sae.W_dec is None:
            raise InputError(f"{name} comes without its decoder; choose another SAE, or set it to 0")
        scale = sae.decoder_scale
        return cls(sae.W_dec if scale is None else sae.W_dec.float() * scale[:, None], sae.b_dec)

    @classmethod
    def from_head(cls, head: LinearHead) -> Decoder:
        """For latents drawn at random: each decodes to its own direction in the head, at length 1."""
        return cls(normalize(head.weight.detach().float()), head.weight.new_zeros(head.d_model))

    def forward(self, hidden: Tensor, head: LinearHead) -> Reconstruction:
        """hidden: states of tokens [tokens, d_model], as `saelex.encoder.pooling.pool` takes them. head: TopK."""
        assert isinstance(head.activation, TopK)
        states = head.transform(hidden)
        with torch.autocast(states.device.type, enabled=False):
            states = states.float()
            weight, bias = head.weight.float(), head.bias.float()
            if head.scale is not None:
                scale = head.scale.float()
                weight, bias = weight * scale[:, None], bias * scale
            # holds the pre-activations of a chunk of tokens at a time; b_dec is in the bias already
            codes = encode_topk(
                states, states.new_zeros(head.d_model), weight.t(), bias, min(head.activation.k, head.n_latents)
            )
            rebuilt = decode_topk(codes.values, codes.latents, self.W_dec) + self.b_dec  # [tokens, d_model]
            fixed = states.detach()
            total = fixed.sum(dim=0)
            return Reconstruction(
                (states - rebuilt).square().sum(),
                (fixed - total / max(len(fixed), 1)).square().sum(),
                total,
                torch.tensor(len(fixed), device=fixed.device),
            )


def starting_decoder(model: ModelRecipe, head: LinearHead) -> Decoder:
    """The untrained decoder of a recipe whose head was just made. Raises InputError where there is none."""
    if not isinstance(head.activation, TopK):
        raise InputError(
            f"loss.reconstruction needs a TopK gate, and this SAE's is {type(head.activation).__name__}; set it to 0"
        )
    if model.head == "sae":
        sae = SparseAutoencoder.load(model.sae, model.sae_file, device=head.weight.device)
        return Decoder.from_sae(sae)
    return Decoder.from_head(head)
