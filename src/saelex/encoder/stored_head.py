"""A head as it is stored: its tensors as safetensors, its shape as JSON, and the digest of what both mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from saelex.encoder.digest import tensors_digest
from saelex.encoder.head import LinearHead
from saelex.errors import InputError
from saelex.files import fact_of
from saelex.sae.activations import Activation, JumpReLU, ReLU, TopK
from saelex.sae.normalisation import TokenNorm


def head_tensors(head: LinearHead, weight_dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The head's tensors by name, on the CPU; `weight` in another dtype where one is given."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    if weight_dtype is not None:
        tensors["weight"] = tensors["weight"].to(weight_dtype)
    return tensors


def head_config(head: LinearHead) -> dict[str, Any]:
    """All of a head but its tensors, as JSON values."""
    activation: dict[str, Any] = {"kind": type(head.activation).__name__.lower()}
    if isinstance(head.activation, TopK):
        activation["k"] = head.activation.k
    return {
        "n_latents": head.n_latents,
        "d_model": head.d_model,
        "dtype": str(head.weight.dtype).removeprefix("torch."),
        "activation": activation,
        "pooling": head.pooling,
        "saturation": head.saturation,
        "softcap": head.softcap,
        "transform": _transform_config(head.transform),
    }


def head_digest(config: Mapping[str, Any], values: str) -> str:
    """sha256 over a head's shape and the digest of its tensors' values, whatever the dtype they are stored in."""
    shape = {key: value for key, value in config.items() if key not in ("dtype", "sha256", "digest")}
    return sha256((json.dumps(shape, sort_keys=True) + values).encode()).hexdigest()


def write_head(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write the tensors to a safetensors file."""
    # tied tensors (an output embedding that is the input embedding, too) share storage, which safetensors refuses
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


def read_head(path: Path, config: Mapping[str, Any]) -> LinearHead:
    """The head of a file and its config. Raises InputError where the two do not make a head."""
    try:
        tensors = load_file(path)
        head = LinearHead(
            tensors["weight"].to(getattr(torch, config["dtype"])),
            tensors["bias"],
            _activation(config["activation"], tensors),
            scale=tensors.get("scale"),
            transform=_transform(config["transform"], config["d_model"], tensors),
            softcap=config["softcap"],
            alpha=float(tensors["alpha"]),
            pooling=config["pooling"],
            saturation=config["saturation"],
        )
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"{path}: not the head that its saelex_config.json describes ({reason})") from error
    if (head.n_latents, head.d_model) != (config["n_latents"], config["d_model"]):
        raise InputError(f"{path}: holds {head.n_latents} x {head.d_model} weights, not what saelex_config.json says")
    return head.eval()


def stored_digest(path: Path, head: LinearHead) -> str:
    """`head_digest` of a head as `read_head` has just read it from a file, whose values are hashed once and remembered.

    Of the head that computes, not of what its config tells: a dtype that rounds the file's values is another head.
    """
    config = head_config(head)
    return head_digest(
        config, fact_of(path, f"values as {config['dtype']}", lambda: tensors_digest(head_tensors(head)))
    )


def _activation(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Activation:
    kind = config["kind"]
    if kind == "relu":
        return ReLU()
    if kind == "jumprelu":
        return JumpReLU(tensors["activation.threshold"])
    if kind == "topk":
        return TopK(int(config["k"]))
    raise InputError(f"unknown gate {kind!r} in saelex_config.json; a newer saelex may have written this model")


def _transform_config(transform: nn.Module) -> dict[str, Any] | None:
    from saelex.encoder.backbone.vocabulary import MaskedLMTransform

    if isinstance(transform, nn.Identity):
        return None
    if isinstance(transform, nn.Sequential):
        return {"kind": "sequence", "parts": [_transform_config(part) for part in transform]}
    if isinstance(transform, TokenNorm):
        return {"kind": "token_norm", "norm": transform.kind}
    if isinstance(transform, MaskedLMTransform):
        return {
            "kind": "masked_lm",
            "activation": transform.activation,
            "eps": transform.norm.eps,
            "dense_bias": transform.dense.bias is not None,
            "norm_bias": transform.norm.bias is not None,
        }
    raise InputError(f"a head with a {type(transform).__name__} as its transform cannot be saved")


def _transform(
    shape: Mapping[str, Any] | None, d_model: int, tensors: Mapping[str, Tensor], prefix: str = "transform."
) -> nn.Module | None:
    if shape is None:
        return None
    if shape["kind"] == "sequence":
        parts = (_transform(part, d_model, tensors, f"{prefix}{i}.") for i, part in enumerate(shape["parts"]))
        return nn.Sequential(*(part for part in parts if part is not None))
    if shape["kind"] == "token_norm":
        return TokenNorm(shape["norm"])
    from saelex.encoder.backbone.vocabulary import MaskedLMTransform

    if shape["kind"] != "masked_lm":
        raise InputError(f"unknown transform {shape['kind']!r} in saelex_config.json; a newer saelex wrote it")
    transform = MaskedLMTransform(
        d_model,
        shape["activation"],
        shape["eps"],
        dense_bias=shape["dense_bias"],
        norm_bias=shape["norm_bias"],
    )
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    transform.load_state_dict(own, assign=True)
    return transform
