"""The mean of several runs' weights, which SPLARE (arXiv 2603.13277) takes as its final model.

What is averaged are merged weights. The mean of products B @ A is not the product of the means: the factors of two runs
span other subspaces, and averaged apart they give a model that none of the runs is near to.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from saelex.encoder.digest import tensors_digest
from saelex.encoder.encoder import Encoder
from saelex.encoder.files.extra import TRAINING
from saelex.encoder.identity import weighting_digest
from saelex.encoder.stored_head import head_config
from saelex.errors import InputError, MismatchError

_FIXED = ("scale", "activation.threshold")
"""Tensors of a head that belong to its SAE and that no recipe trains."""


def average_encoders(folders: Sequence[str | Path], weights: Sequence[float] | None = None) -> Encoder:
    """One encoder whose backbone and head are the weighted mean of several runs of the same model, on the CPU.

    folders: what `Encoder.load` reads, two or more. weights: how much each counts; all alike unless given.

    Runs are read one by one, in float32 and with their low-rank updates merged; the mean is summed in float32 and
    rounded once, to the dtypes of the first run. Averaged are the backbone's tensors and the head's weight, bias, alpha
    and transform. What no recipe trains must be equal: the gate with its thresholds, an SAE's scale, the weighting and
    the token weights (a mean of document frequencies would be of no corpus), and so must all settings. Labels and
    description keep what all runs agree on; the description lists the runs and their fingerprints, and their training
    files go on under `training/run-1/` and so on.

    Bases are compared by the hash of their weights where that is known (a named backbone, a merged low-rank update), by
    name and shape where everything was trained.

    Raises InputError for weights that do not fit, MismatchError, saying what differs, for runs of different models.
    """
    shares = _shares(len(folders), weights)
    runs: list[_Run] = []
    mean: dict[str, Tensor] = {}
    for folder, share in zip(folders, shares):
        encoder = Encoder.load(folder, device="cpu", dtype=torch.float32)
        run = _Run.of(encoder, share)
        if runs:
            _check_same(runs[0], run)
        runs.append(run)
        _add(mean, _tensors(encoder), share)
        del encoder  # before the next one is read
    result = Encoder.load(folders[0], device="cpu")
    with torch.no_grad():
        for name, tensor in _tensors(result).items():
            tensor.copy_(mean.pop(name))
    result.backbone.update = None  # its product is part of the mean
    result.labels = _shared([run.labels for run in runs])
    result.description = _shared([run.description for run in runs]) | {
        "averaged_from": "; ".join(f"{run.name} ({run.share:.4g}, fingerprint {run.fingerprint})" for run in runs)
    }
    result.extra_files = _training_files(runs)
    return result


def _shares(n: int, weights: Sequence[float] | None) -> list[float]:
    """The weights, made to add up to 1."""
    if n < 2:
        raise InputError("an average is of two or more models")
    weights = [1.0] * n if weights is None else weights
    if len(weights) != n or not all(weight > 0 and math.isfinite(weight) for weight in weights):
        raise InputError(f"give one positive weight for each of the {n} models, not {', '.join(map(str, weights))}")
    return [weight / sum(weights) for weight in weights]


@dataclass(frozen=True)
class _Run:
    """What is kept of a run when its weights are gone. facts: what must be equal in all runs, by name."""

    name: str
    share: float
    fingerprint: str
    base_name: str
    base_weights: str | None
    facts: Mapping[str, Any]
    labels: Mapping[int, str]
    description: Mapping[str, Any]
    files: Mapping[str, bytes | str]

    @classmethod
    def of(cls, encoder: Encoder, share: float) -> _Run:
        backbone, identity = encoder.backbone, encoder.backbone_identity.facts()
        path = Path(encoder.name)
        # a backbone that lies in the model folder is known by its own values, unless only an update was merged into it
        base_known = backbone.base_model == backbone.model_id or identity["adapter"] is not None
        return cls(
            name=path.name if path.is_absolute() else encoder.name,  # other people's paths are nothing for a model card
            share=share,
            fingerprint=encoder.fingerprint,
            base_name=backbone.base_model,
            base_weights=identity["weights"] if base_known else None,
            facts=_facts(encoder, identity),
            labels=encoder.labels,
            description=encoder.description,
            files=encoder.extra_files,
        )


def _facts(encoder: Encoder, identity: Mapping[str, Any]) -> dict[str, Any]:
    head = encoder.head
    fixed = {name: tensor for name, tensor in head.state_dict().items() if name in _FIXED}
    return (
        {name: identity[name] for name in ("model_type", "layer", "bidirectional", "output", "window")}
        | {f"settings.{name}": value for name, value in encoder.settings.to_dict().items()}
        | {f"head.{name}": value for name, value in head_config(head).items() if name != "dtype"}
        | {f"head.{name}": tensors_digest({name: fixed[name]}) if name in fixed else None for name in _FIXED}
        | {"weighting": None if encoder.weighting is None else weighting_digest(encoder.weighting)}
        | {"token_weights": None if encoder.token_weights is None else encoder.token_weights.digest()}
    )


def _check_same(first: _Run, other: _Run) -> None:
    differing = [
        f"{name} ({_brief(value)} and {_brief(other.facts[name])})"
        for name, value in first.facts.items()
        if value != other.facts[name]
    ]
    if first.base_weights is not None and other.base_weights is not None:
        if first.base_weights != other.base_weights:
            differing.insert(0, f"the base model's weights ({first.base_name} and {other.base_name})")
    elif first.base_name != other.base_name:
        differing.insert(0, f"the base model ({first.base_name} and {other.base_name})")
    if differing:
        raise MismatchError(
            f"{first.name} and {other.name} cannot be averaged: they differ in {', '.join(differing)}; "
            "give runs of one recipe that differ in seed or data alone"
        )


def _brief(value: Any) -> str:
    text = str(value) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 40 else text[:12].strip("'") + "..."


def _tensors(encoder: Encoder) -> dict[str, Tensor]:
    """The weights that are averaged, by name; writing to them writes to the encoder."""
    backbone = {f"backbone.{name}": tensor for name, tensor in encoder.backbone.model.state_dict().items()}
    head = {f"head.{name}": tensor for name, tensor in encoder.head.state_dict().items() if name not in _FIXED}
    return {name: tensor for name, tensor in (backbone | head).items() if tensor.is_floating_point()}


def _add(mean: dict[str, Tensor], tensors: Mapping[str, Tensor], share: float) -> None:
    """mean += share * tensors; an empty mean starts with them."""
    if not mean:
        mean |= {name: tensor.float() * share for name, tensor in tensors.items()}
        return
    if mean.keys() != tensors.keys():
        raise MismatchError(f"the models cannot be averaged: only one has {min(mean.keys() ^ tensors.keys())}")
    for name, tensor in tensors.items():
        if tensor.shape != mean[name].shape:
            raise MismatchError(
                f"the models cannot be averaged: {name} is {list(mean[name].shape)} in one and {list(tensor.shape)} in "
                "another"
            )
        mean[name].add_(tensor.float(), alpha=share)


def _shared(mappings: Iterable[Mapping[Any, Any]]) -> dict[Any, Any]:
    """The entries that all of the mappings have."""
    first, *others = mappings
    missing = object()
    return {key: value for key, value in first.items() if all(other.get(key, missing) == value for other in others)}


def _training_files(runs: Sequence[_Run]) -> dict[str, bytes | str]:
    """What made each run, and the average of them."""
    listed = [{"run": run.name, "weight": run.share, "fingerprint": run.fingerprint} for run in runs]
    files: dict[str, bytes | str] = {f"{TRAINING}/average.json": json.dumps({"runs": listed}, indent=2) + "\n"}
    for number, run in enumerate(runs, 1):
        for name, content in run.files.items():
            inner = PurePosixPath(name).relative_to(TRAINING)
            files[f"{TRAINING}/run-{number}/{inner}"] = content
    return files
