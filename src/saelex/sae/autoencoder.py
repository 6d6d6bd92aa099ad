"""The sparse autoencoder itself, in plain torch."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from saelex.errors import InputError, MismatchError
from saelex.loading import Loading, LoadingOptions
from saelex.sae.activations import Activation
from saelex.sae.config import SaeConfig
from saelex.sae.formats.registry import load_parts
from saelex.sae.formats.saelens import save_saelens
from saelex.sae.hub import push_sae
from saelex.sae.normalisation import TokenNorm
from saelex.sae.parts import SaeParts

if TYPE_CHECKING:
    from typing_extensions import Unpack

_PRECISE = ("b_enc", "b_dec", "encoder_scale", "decoder_scale")
_ALIASES = {"gpt2-small": "gpt2", "mistral-7b": "mistral-7b-v0.1"}
_WIDENED = 1 << 24  # numbers of a half-precision matrix that are widened at a time


class SaeOutput(NamedTuple):
    """What the SAE makes of a batch of states."""

    latents: Tensor  # [..., n_latents]
    reconstruction: Tensor  # [..., d_model]


class SparseAutoencoder(nn.Module):
    """z = gate(encoder_scale * ((N(x) - b_dec) W_enc) + b_enc),  x^ = N'((z * decoder_scale) W_dec + b_dec).

    W_enc: [d_model, n_latents]; b_enc: [n_latents]; W_dec: [n_latents, d_model], or None where only the encoder was
        loaded; b_dec: [d_model].
    encoder_scale, decoder_scale: positive [n_latents], or None (ones). What a suite folds into its weights (norms of
        states, decoder norms, gates' magnitudes) is kept here in float32, so that the weights stay the file's own.
    apply_b_dec_to_input: whether b_dec is subtracted from the input (SAE-SPLADE, sparsify: yes; Gemma Scope: no).
    input_norm: N, per token; None for most.

    The weights may be of any floating dtype; all else is float32 and stays so when the module is cast.
    Raises InputError where shapes do not fit together.
    """

    encoder_scale: Tensor | None
    decoder_scale: Tensor | None

    def __init__(
        self,
        W_enc: Tensor,
        b_enc: Tensor,
        W_dec: Tensor | None,
        b_dec: Tensor,
        activation: Activation,
        config: SaeConfig,
        *,
        apply_b_dec_to_input: bool = False,
        encoder_scale: Tensor | None = None,
        decoder_scale: Tensor | None = None,
        input_norm: TokenNorm | None = None,
    ) -> None:
        super().__init__()
        d_model, n_latents = config.d_model, config.n_latents
        for name, tensor, shape in (
            ("W_enc", W_enc, (d_model, n_latents)),
            ("b_enc", b_enc, (n_latents,)),
            ("W_dec", W_dec, (n_latents, d_model)),
            ("b_dec", b_dec, (d_model,)),
            ("encoder_scale", encoder_scale, (n_latents,)),
            ("decoder_scale", decoder_scale, (n_latents,)),
        ):
            if tensor is not None and tuple(tensor.shape) != shape:
                raise InputError(
                    f"SAE {config.source or ''}: {name} has the shape {list(tensor.shape)}, not {list(shape)}; "
                    "the file is damaged or its configuration belongs to another SAE"
                )
            if tensor is not None and name.endswith("scale") and not bool((tensor > 0).all()):
                raise InputError(f"SAE {config.source or ''}: {name} must be positive for every latent")
        small = {"b_enc": b_enc, "b_dec": b_dec, "encoder_scale": encoder_scale, "decoder_scale": decoder_scale}
        small["the threshold"] = getattr(activation, "threshold", None)
        for name, tensor in small.items():  # the matrices were looked at as they were read
            if tensor is not None and not bool(torch.isfinite(tensor).all()):
                raise InputError(f"SAE {config.source or ''}: {name} is not finite; the file is damaged")
        self.W_enc = nn.Parameter(W_enc)
        self.b_enc = nn.Parameter(_precise(b_enc))
        self.W_dec = None if W_dec is None else nn.Parameter(W_dec)
        self.b_dec = nn.Parameter(_precise(b_dec))
        self.register_buffer("encoder_scale", None if encoder_scale is None else _precise(encoder_scale))
        self.register_buffer("decoder_scale", None if decoder_scale is None else _precise(decoder_scale))
        self.activation = activation
        self.config = replace(config, dtype=str(W_enc.dtype).removeprefix("torch."))
        self.apply_b_dec_to_input = apply_b_dec_to_input
        self.input_norm = input_norm

    @classmethod
    def load(
        cls,
        source: str | Path,
        path_in_repo: str | None = None,
        *,
        format: str | None = None,
        activation_scale: str = "raw",
        decoder: bool = True,
        **options: Unpack[LoadingOptions],
    ) -> SparseAutoencoder:
        """Load a published SAE, its format recognised by the files.

        source: a folder, a name of the catalogue such as "gemma-scope/2b/16/65k/128" (`saelex sae list`), or a hub id
            such as "google/gemma-scope-2b-pt-res" with path_in_repo="layer_16/width_65k/average_l0_128".
        format: name of a format (`saelex.sae.formats`) where a folder would fit several.
        activation_scale: Llama Scope only: "raw" latents (OpenMOSS's own) or "normalised" ones (SAELens').
        decoder: False leaves the decoder's weights in the file; encoding is all that retrieval needs.
        options: device (the CPU unless told otherwise), dtype, revision and token, as in `saelex.loading.Loading`; the
            dtype is that of the weights, while biases, scales and thresholds stay float32.
        Raises InputError for a missing, damaged or unknown file.
        """
        loading = Loading(**options)
        parts = load_parts(
            source, path_in_repo, loading, format=format, activation_scale=activation_scale, decoder=decoder
        )
        return cls(**parts._asdict()).to(device=loading.place, dtype=loading.torch_dtype)

    @property
    def parts(self) -> SaeParts:
        """What it consists of, as a format writes it."""
        return SaeParts(**{name: getattr(self, name) for name in SaeParts._fields})

    def save(self, folder: str | Path) -> None:
        """Write the folder in SAELens' native layout (`cfg.json`, `sae_weights.safetensors`), whole or not at all."""
        save_saelens(self.parts, folder)

    def push_to_hub(
        self, repo: str, *, private: bool = False, token: str | None = None, licence: str | None = None
    ) -> str:
        """Upload the SAE, in SAELens' layout with a model card; `saelex.sae.hub.push_sae` explains the arguments."""
        return push_sae(self.parts, repo, private=private, token=token, licence=licence)

    def pre_activations(self, states: Tensor) -> Tensor:
        """What the gate sees: states [..., d_model] -> [..., n_latents], float32 or wider."""
        if self.input_norm is not None:
            states = self.input_norm(states)
        if self.apply_b_dec_to_input:
            states = states - self.b_dec.to(states.dtype)
        pre = _product(states, self.W_enc)
        return pre + self.b_enc if self.encoder_scale is None else pre * self.encoder_scale + self.b_enc

    def encode(self, states: Tensor) -> Tensor:
        """Latents of token states, [..., d_model] -> [..., n_latents]."""
        latents: Tensor = self.activation(self.pre_activations(states))
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """States that the latents stand for, [..., n_latents] -> [..., d_model]; normalised, where the SAE has a norm.

        Raises InputError where the decoder was not loaded.
        """
        if self.W_dec is None:
            raise InputError(
                f"the SAE {self.config.source or ''} was loaded without its decoder; load it with decoder=True"
            )
        if self.decoder_scale is not None:
            latents = latents * self.decoder_scale
        return _product(latents, self.W_dec) + self.b_dec

    def forward(self, states: Tensor) -> SaeOutput:
        latents = self.encode(states)
        rebuilt = self.decode(latents)
        return SaeOutput(latents, rebuilt if self.input_norm is None else self.input_norm.restore(rebuilt, states))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SparseAutoencoder:
        exact = {name: tensor for name in _PRECISE if (tensor := getattr(self, name)) is not None}
        kept = {name: tensor.detach().clone() for name, tensor in exact.items()}
        super()._apply(fn, recurse)
        for name in exact:
            tensor = getattr(self, name)
            if tensor.dtype in (torch.float16, torch.bfloat16):  # follows the module's device, not its half precision
                tensor.data = kept[name].to(tensor.device)
        return self

    def check_belongs(self, model: Any, layer: int | None, d_model: int, *, transform: bool = False) -> None:
        """Raises MismatchError unless the SAE was trained on this model's states after this block.

        model: hub id, folder, or a Hugging Face config. transform: the states are those after the model's masked-LM
        transform. What the SAE's checkpoint does not record cannot be checked.
        """
        given = str(model if isinstance(model, (str, Path)) else getattr(model, "_name_or_path", ""))
        mine, here = self.config, f"the SAE {self.config.source or ''}".rstrip()
        if mine.d_model != d_model:
            raise MismatchError(
                f"{here} reads states of {mine.d_model} dimensions, {given} has {d_model}: use an SAE made for it"
            )
        if mine.model_name and given and _model_key(mine.model_name) != _model_key(given):
            raise MismatchError(
                f"{here} was trained on {mine.model_name}, not on {given}: use that backbone (a folder is known "
                "by its name) or another SAE"
            )
        if transform and mine.hook_name is not None:
            if not mine.reads_transform:
                raise MismatchError(
                    f"{here} reads {mine.hook_name}, not the output of the masked-LM transform: choose an SAE that "
                    "was trained on it, or leave transform out"
                )
            return
        if mine.hook_name is not None and mine.layer is None:
            raise MismatchError(
                f"{here} reads {mine.hook_name}, not the residual stream after a block: use another SAE"
            )
        if None not in (mine.layer, layer) and mine.layer != layer:
            raise MismatchError(
                f"{here} reads the output of block {mine.layer}, not of block {layer}: choose that layer"
            )

    def __repr__(self) -> str:
        config, dtype = self.config, str(self.W_enc.dtype).removeprefix("torch.")
        reads = " of ".join(known for known in (config.hook_name, config.model_name) if known)
        parts = (f"{config.d_model} -> {config.n_latents}", self.activation, dtype, reads)
        return f"SparseAutoencoder({', '.join(str(part) for part in parts if str(part))})"


def _precise(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _product(rows: Tensor, matrix: Tensor) -> Tensor:
    """rows [..., n] @ matrix [n, m], float32 or wider, in the wider dtype of the two.

    A half-precision matrix under float32 rows is widened a few columns at a time: never as a whole.
    """
    if rows.dtype == matrix.dtype or not matrix.dtype.itemsize < rows.dtype.itemsize:
        return _precise(rows.to(matrix.dtype) @ matrix)
    columns = max(1, _WIDENED // len(matrix))
    return torch.cat([rows @ some.to(rows.dtype) for some in matrix.split(columns, dim=1)], dim=-1)


def _model_key(name: str) -> str:
    """A model's name without owner and folder, in one spelling: "meta-llama/Meta-Llama-3.1-8B" -> "llama-3.1-8b".

    TransformerLens' own names, which SAELens' checkpoints record, count as the hub's.
    """
    cached = re.search(r"models--[^/\\]+--([^/\\]+)", name)  # a snapshot folder of the hub's cache
    own = cached.group(1) if cached else Path(name).name
    key = own.lower().removeprefix("meta-")
    return _ALIASES.get(key, key)
