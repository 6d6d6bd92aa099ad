"""SAELens' native layout: `cfg.json` and `sae_weights.safetensors`. Read and written; ours is written in this layout.

Tensors: W_enc [d_in, d_sae], b_enc, W_dec [d_sae, d_in], b_dec, and threshold [d_sae] for jumprelu. Configurations of
version 6 keep model and hook under `metadata`; older ones have them at the top level, under older names.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from saelex.errors import InputError
from saelex.sae.activations import Activation, JumpReLU, ReLU, TopK
from saelex.sae.autoencoder import SaeConfig, SparseAutoencoder
from saelex.sae.formats.common import SaeFormat, Wanted, layer_of_hook, read_json, read_safetensors, setting, take

_CONFIG = "cfg.json"
_WEIGHTS = "sae_weights.safetensors"
_TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")


def read_saelens(folder: Path, wanted: Wanted) -> SparseAutoencoder:
    """The SAE in the folder: architectures standard, jumprelu and topk, configurations before and after 6.0."""
    path, weights = folder / _CONFIG, folder / _WEIGHTS
    values = _modern(read_json(path))
    tensors = read_safetensors(weights)
    W_enc, b_enc, W_dec, b_dec = take(tensors, _TENSORS, weights)
    if (factors := tensors.get("scaling_factor")) is not None and not bool((factors == 1).all()):
        raise InputError(f"{weights}: was fine-tuned with scaling_factor, which this reader does not know")
    W_enc, W_dec, b_dec = _fold_input_scale(values, path, W_enc, W_dec, b_dec)
    if values.get("rescale_acts_by_decoder_norm"):
        lengths = W_dec.float().norm(dim=1)  # [d_sae]; latents are multiplied by them and divided again when decoding
        W_enc, b_enc, W_dec = W_enc * lengths, b_enc * lengths, W_dec / lengths[:, None]
    metadata = values["metadata"]
    hook_name = metadata.get("hook_name") or metadata.get("hf_hook_name")
    config = SaeConfig(
        int(setting(values, "d_in", path)),
        int(setting(values, "d_sae", path)),
        model_name=metadata.get("model_name"),
        layer=layer_of_hook(hook_name),
        hook_name=hook_name,
        dtype=str(W_enc.dtype).removeprefix("torch."),
        source=wanted.source,
        metadata={name: value for name, value in metadata.items() if name not in ("model_name", "hook_name")},
    )
    return SparseAutoencoder(
        W_enc,
        b_enc,
        W_dec,
        b_dec,
        _gate(values, tensors, path, weights),
        config,
        apply_b_dec_to_input=bool(values["apply_b_dec_to_input"]),
    )


def save_saelens(sae: SparseAutoencoder, folder: Path) -> None:
    """Write the SAE; each file is renamed into place once it is whole, the configuration last.

    Scales are folded into the weights, in the weights' dtype: SAELens has no others.
    Raises InputError for an SAE without its decoder.
    """
    if sae.W_dec is None:
        raise InputError(f"the SAE {sae.config.source or ''} was loaded without its decoder; load it with decoder=True")
    tensors = {
        "W_enc": sae.W_enc if sae.encoder_scale is None else (sae.W_enc * sae.encoder_scale).to(sae.W_enc.dtype),
        "b_enc": sae.b_enc,
        "W_dec": sae.W_dec
        if sae.decoder_scale is None
        else (sae.W_dec * sae.decoder_scale[:, None]).to(sae.W_dec.dtype),
        "b_dec": sae.b_dec,
    }
    values: dict[str, Any] = {
        "architecture": _architecture(sae.activation),
        "d_in": sae.config.d_model,
        "d_sae": sae.config.n_latents,
        "dtype": str(sae.W_enc.dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": sae.apply_b_dec_to_input,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            **sae.config.metadata,
            "model_name": sae.config.model_name,
            "hook_name": sae.config.hook_name,
        },
    }
    if isinstance(sae.activation, TopK):
        values |= {"k": sae.activation.k, "rescale_acts_by_decoder_norm": False}
    if isinstance(sae.activation, JumpReLU):
        tensors["threshold"] = sae.activation.threshold.expand(sae.config.n_latents)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as scratch:
        made = Path(scratch)
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, made / _WEIGHTS)
        (made / _CONFIG).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        for name in (_WEIGHTS, _CONFIG):
            (made / name).replace(folder / name)


def _modern(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration of before SAELens 6 in the form of 6: model and hook under `metadata`, topk an architecture."""
    if "metadata" in values:
        return {"apply_b_dec_to_input": True, **values, "metadata": dict(values["metadata"])}
    old = dict(values)
    old["metadata"] = {
        "model_name": old.get("model_name"),
        "hook_name": old.get("hook_name") or old.get("hook_point"),
        "prepend_bos": old.get("prepend_bos"),
        "context_size": old.get("context_size"),
        "neuronpedia_id": old.get("neuronpedia_id"),
    }
    old.setdefault("apply_b_dec_to_input", True)
    activation = old.get("activation_fn") or old.get("activation_fn_str") or "relu"
    if activation == "topk":
        old["architecture"] = "topk"
        old.setdefault("k", (old.get("activation_fn_kwargs") or {}).get("k"))
    elif activation not in ("relu", "jumprelu"):
        old["architecture"] = f"activation {activation}"
    old.setdefault("architecture", "standard")
    return old


def _gate(values: dict[str, Any], tensors: dict[str, Tensor], path: Path, weights: Path) -> Activation:
    architecture = setting(values, "architecture", path)
    if architecture == "standard":
        return ReLU()
    if architecture == "topk":
        return TopK(int(setting(values, "k", path)))
    if architecture == "jumprelu":
        threshold = take(tensors, ["threshold"], weights)[0]
        if threshold.shape != tensors["b_enc"].shape:
            raise InputError(f"{weights}: threshold has the shape {list(threshold.shape)}; download it again")
        return JumpReLU(threshold)
    raise InputError(f"{path}: architecture {architecture!r} is not one of standard, jumprelu, topk")


def _architecture(activation: Activation) -> str:
    return {ReLU: "standard", JumpReLU: "jumprelu", TopK: "topk"}[type(activation)]


def _fold_input_scale(
    values: dict[str, Any], path: Path, W_enc: Tensor, W_dec: Tensor, b_dec: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """With `expected_average_only_in`, SAELens' own folding of norm_scaling_factor into the weights."""
    kind = values.get("normalize_activations") or "none"
    if kind == "none":
        return W_enc, W_dec, b_dec
    if kind != "expected_average_only_in" or values.get("norm_scaling_factor") is None:
        raise InputError(
            f"{path}: normalize_activations is {kind!r} without a recorded factor; "
            "fold it with SAELens (fold_activation_norm_scaling_factor) and save the SAE again"
        )
    scale = float(values["norm_scaling_factor"])
    return W_enc * scale, W_dec / scale, b_dec / scale


SAELENS = SaeFormat("saelens", files=(_CONFIG, _WEIGHTS), required=(_CONFIG, _WEIGHTS), read=read_saelens)
