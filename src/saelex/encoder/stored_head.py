"""A head as it is stored: its tensors as safetensors, its shape as JSON, and the digest of what both mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from saelex.encoder.digest import head_digest, tensors_digest
from saelex.encoder.head import LinearHead
from saelex.errors import InputError
from saelex.files import fact_of
from saelex.reading.json_object import JsonObject
from saelex.reading.regular import reason_of
from saelex.reading.tensors import WEIGHT_DTYPES, SafetensorsFile, check_weights
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


def write_head(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write the tensors to a safetensors file."""
    # tied tensors (an output embedding that is the input embedding, too) share storage, which safetensors refuses
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


def read_head(path: Path, config: JsonObject) -> LinearHead:
    """The head of a file and its config. Raises InputError where the two do not make a head."""
    file = SafetensorsFile(path)
    tensors = {name: check_weights(tensor, name, path) for name, tensor in file.items()}
    shape = config.whole("n_latents", least=1), config.whole("d_model", least=1)
    if tuple(file.weights("weight").shape) != shape:
        raise InputError(f"{path}: holds {list(tensors['weight'].shape)} weights, not {list(shape)}; save it again")
    dtype = config.text("dtype")
    if dtype not in WEIGHT_DTYPES:
        raise config.wrong("dtype", "the name of a dtype that weights have")
    if file.weights("alpha").numel() != 1:
        raise InputError(f"{path}: alpha is of the shape {list(tensors['alpha'].shape)}, not a number")
    transform = config.object_or_none("transform")
    return LinearHead(
        tensors["weight"].to(getattr(torch, dtype)),
        file.weights("bias"),
        _activation(config.object("activation"), file),
        scale=tensors.get("scale"),
        transform=None if transform is None else _transform(transform, shape[1], tensors),
        softcap=config.number_or("softcap", None),
        alpha=float(tensors["alpha"]),
        pooling=config.text("pooling"),  # type: ignore[arg-type] # the head checks the two names
        saturation=config.text("saturation"),  # type: ignore[arg-type]
    ).eval()


def stored_digest(path: Path, head: LinearHead) -> str:
    """`head_digest` of a head as `read_head` has just read it from a file, whose values are hashed once and remembered.

    Of the head that computes, not of what its config tells: a dtype that rounds the file's values is another head.
    """
    config = head_config(head)
    return head_digest(
        config, fact_of(path, f"values as {config['dtype']}", lambda: tensors_digest(head_tensors(head)))
    )


def _activation(config: JsonObject, file: SafetensorsFile) -> Activation:
    kind = config.text("kind")
    if kind == "relu":
        return ReLU()
    if kind == "jumprelu":
        return JumpReLU(file.weights("activation.threshold"))
    if kind == "topk":
        return TopK(config.whole("k", least=1))
    raise InputError(f"unknown gate {kind!r:.60} in {config.where}; a newer saelex may have written this model")


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


def _transform(shape: JsonObject, d_model: int, tensors: Mapping[str, Tensor], prefix: str = "transform.") -> nn.Module:
    kind = shape.text("kind")
    if kind == "sequence":
        parts = (_transform(part, d_model, tensors, f"{prefix}{i}.") for i, part in enumerate(shape.objects("parts")))
        return nn.Sequential(*parts)
    if kind == "token_norm":
        return TokenNorm(shape.text("norm"))  # type: ignore[arg-type] # it checks the name
    from saelex.encoder.backbone.vocabulary import MaskedLMTransform

    if kind != "masked_lm":
        raise InputError(f"unknown transform {kind!r:.60} in {shape.where}; a newer saelex wrote it")
    transform = MaskedLMTransform(
        d_model,
        shape.text("activation"),
        shape.number("eps"),
        dense_bias=shape.flag_or("dense_bias", True),
        norm_bias=shape.flag_or("norm_bias", True),
    )
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    try:
        transform.load_state_dict(own, assign=True)
    except RuntimeError as error:
        raise InputError(f"{shape.where}: the head's transform has other tensors ({reason_of(error)})") from error
    return transform
