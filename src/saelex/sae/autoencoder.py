"""The sparse autoencoder itself, in plain torch."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from saelex.errors import InputError, MismatchError
from saelex.sae.activations import Activation


@dataclass(frozen=True)
class SaeConfig:
    """What an SAE is and what it was trained on.

    layer: the block, counted from 0, whose output the SAE reads (`blocks.<layer>.hook_resid_post`, Hugging Face's
        `hidden_states[layer + 1]`); None where the checkpoint does not say.
    model_name: the language model, as the checkpoint names it; None where it does not.
    source: where the SAE was loaded from. metadata: anything else that the checkpoint records, as JSON values.
    """

    d_model: int
    n_latents: int
    model_name: str | None = None
    layer: int | None = None
    hook_name: str | None = None
    dtype: str = "float32"
    source: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


class SaeOutput(NamedTuple):
    """What the SAE makes of a batch of states."""

    latents: Tensor  # [..., n_latents]
    reconstruction: Tensor  # [..., d_model]


class SparseAutoencoder(nn.Module):
    """z = gate((s x - b_dec) W_enc + b_enc),  x^ = (z W_dec + b_dec) / s.

    W_enc: [d_model, n_latents]; b_enc: [n_latents]; W_dec: [n_latents, d_model]; b_dec: [d_model]; s: input_scale.
    apply_b_dec_to_input: whether b_dec is subtracted from the input (SAE-SPLADE, sparsify: yes; Gemma Scope: no).
    input_scale: factor that brings states to the norm the SAE was trained on; 1 where a loader folded it in.
    Raises InputError where shapes do not fit together.
    """

    def __init__(
        self,
        W_enc: Tensor,
        b_enc: Tensor,
        W_dec: Tensor,
        b_dec: Tensor,
        activation: Activation,
        config: SaeConfig,
        *,
        apply_b_dec_to_input: bool = False,
        input_scale: float = 1.0,
    ) -> None:
        super().__init__()
        d_model, n_latents = config.d_model, config.n_latents
        for name, tensor, shape in (
            ("W_enc", W_enc, (d_model, n_latents)),
            ("b_enc", b_enc, (n_latents,)),
            ("W_dec", W_dec, (n_latents, d_model)),
            ("b_dec", b_dec, (d_model,)),
        ):
            if tuple(tensor.shape) != shape:
                raise InputError(
                    f"SAE {config.source or ''}: {name} has the shape {list(tensor.shape)}, not {list(shape)}; "
                    "the file is damaged or its configuration belongs to another SAE"
                )
        self.W_enc = nn.Parameter(W_enc)
        self.b_enc = nn.Parameter(b_enc)
        self.W_dec = nn.Parameter(W_dec)
        self.b_dec = nn.Parameter(b_dec)
        self.activation = activation
        self.config = config
        self.apply_b_dec_to_input = apply_b_dec_to_input
        self.input_scale = input_scale

    @classmethod
    def load(
        cls,
        source: str | Path,
        path_in_repo: str | None = None,
        *,
        format: str | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        revision: str | None = None,
        token: str | None = None,
        activation_scale: str = "raw",
    ) -> SparseAutoencoder:
        """Load a published SAE, its format recognised by the files.

        source: a folder, or a hub id such as "google/gemma-scope-2b-pt-res" with
            path_in_repo="layer_16/width_65k/average_l0_128".
        format: "saelens", "gemma_scope" or "llama_scope" where a folder would fit several.
        dtype: of the weights; None keeps the file's. Thresholds stay float32.
        activation_scale: Llama Scope only: "raw" latents (OpenMOSS's own) or "normalised" ones (SAELens').
        Raises InputError for a missing, damaged or unknown file.
        """
        from saelex.sae.formats.registry import load_sae

        sae = load_sae(
            source, path_in_repo, format=format, revision=revision, token=token, activation_scale=activation_scale
        )
        return sae.to(device=device, dtype=dtype)

    def save(self, folder: str | Path) -> None:
        """Write the folder in SAELens' native layout (`cfg.json`, `sae_weights.safetensors`), whole or not at all."""
        from saelex.sae.formats.saelens import save_saelens

        save_saelens(self, Path(folder))

    def pre_activations(self, states: Tensor) -> Tensor:
        """What the gate sees: states [..., d_model] -> [..., n_latents]."""
        states = states.to(self.W_enc.dtype)
        if self.input_scale != 1.0:
            states = states * self.input_scale
        if self.apply_b_dec_to_input:
            states = states - self.b_dec
        return states @ self.W_enc + self.b_enc

    def encode(self, states: Tensor) -> Tensor:
        """Latents of token states, [..., d_model] -> [..., n_latents]."""
        latents: Tensor = self.activation(self.pre_activations(states))
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """States that the latents stand for, [..., n_latents] -> [..., d_model]."""
        return (latents @ self.W_dec + self.b_dec) / self.input_scale

    def forward(self, states: Tensor) -> SaeOutput:
        latents = self.encode(states)
        return SaeOutput(latents, self.decode(latents))

    def check_belongs(self, model: Any, layer: int | None, d_model: int) -> None:
        """Raises MismatchError unless the SAE was trained on this model's states after this block.

        model: hub id, folder, or a Hugging Face config. What the SAE's checkpoint does not record cannot be checked.
        """
        given = str(model if isinstance(model, (str, Path)) else getattr(model, "_name_or_path", ""))
        mine, here = self.config, f"the SAE {self.config.source or ''}".rstrip()
        if mine.d_model != d_model:
            raise MismatchError(
                f"{here} reads states of {mine.d_model} dimensions, {given} has {d_model}: use an SAE made for it"
            )
        if mine.model_name and given and _model_key(mine.model_name) != _model_key(given):
            raise MismatchError(
                f"{here} was trained on {mine.model_name}, not on {given}: use that backbone or another SAE"
            )
        if mine.hook_name is not None and mine.layer is None:
            raise MismatchError(
                f"{here} reads {mine.hook_name}, not the residual stream after a block: use another SAE"
            )
        if None not in (mine.layer, layer) and mine.layer != layer:
            raise MismatchError(
                f"{here} reads the output of block {mine.layer}, not of block {layer}: choose that layer"
            )

    def extra_repr(self) -> str:
        return f"d_model={self.config.d_model}, n_latents={self.config.n_latents}, input_scale={self.input_scale}"


def _model_key(name: str) -> str:
    """A model's name without owner and folder, in one spelling: "meta-llama/Meta-Llama-3.1-8B" -> "llama-3.1-8b"."""
    cached = re.search(r"models--[^/\\]+--([^/\\]+)", name)  # a snapshot folder of the hub's cache
    own = cached.group(1) if cached else Path(name).name
    return own.lower().removeprefix("meta-")
