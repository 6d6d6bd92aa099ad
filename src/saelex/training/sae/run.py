"""The whole run of `saelex train-sae`: a recipe's texts through its backbone, and an SAE out of their states."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.vocabulary import load_transform
from saelex.encoder.digest import tensors_digest
from saelex.errors import InputError
from saelex.files import cache_folder, expanded, state_of
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.config import MLM_TRANSFORM
from saelex.sae.training.buffer import ArrayStates, StateSource
from saelex.sae.training.processes import Processes, Share, share_of
from saelex.sae.training.run import train_sae
from saelex.training.sae.recipe import SaeRecipe
from saelex.training.sae.states import BackboneStates, cache_in_memory, cache_on_disk
from saelex.training.text_reading import read_texts


def train_sae_on_text(
    recipe: SaeRecipe, output: str | Path | None, *, resume: bool = True, progress: bool = False
) -> SparseAutoencoder:
    """Run a recipe: texts through the backbone, states into the buffer, an SAE out of it.

    The saved configuration names backbone, layer (or the masked-LM transform), corpora and recipe. Raises InputError as
    `train_sae` and `load_transform` do, and for a recipe without model or corpora, or with two ideas of what a sink
    token is.
    """
    if not recipe.model or not recipe.data.corpora:
        raise InputError("the recipe names no model or no data.corpora; set both")
    if recipe.sink_factor is not None and recipe.states.sink_norm is not None:
        raise InputError("the recipe has sink_factor and states.sink_norm; set one of them")
    processes = Processes.start(recipe.training.device)
    progress = progress and processes.main
    backbone = Backbone.load(
        recipe.model,
        layer=recipe.layer,
        output="final" if recipe.transform else "residual",
        bidirectional=recipe.bidirectional,
        revision=recipe.revision,
        dtype=recipe.states.dtype,
        device=recipe.states.device,
    )
    transform = load_transform(backbone) if recipe.transform else None
    if (factor := recipe.sink_factor) is not None:
        whole = BackboneStates(backbone, lambda: read_texts(recipe.data), recipe.states)
        norm = processes.from_main(lambda: _sink_norm(whole, factor))
        recipe = dataclasses.replace(recipe, states=dataclasses.replace(recipe.states, sink_norm=norm))
    states = BackboneStates(backbone, lambda: read_texts(recipe.data), recipe.states, transform)
    source = share_of(states, processes)
    if recipe.states.cache != "none":
        # what a process has cached is its share already
        source = Share(_cached(recipe, states, source, processes, progress), Processes())
    return train_sae(
        source,
        recipe.training,
        output=output,
        model_name=backbone.model_id,
        layer=None if recipe.transform else backbone.layer,
        hook_name=MLM_TRANSFORM if recipe.transform else None,
        metadata={
            "data": [Path(corpus).name for corpus in recipe.data.corpora],
            "states": dataclasses.asdict(recipe.states),
            "bidirectional": backbone.bidirectional,
            "model_revision": backbone.revision,
        },
        resume=resume,
        progress=progress,
        processes=processes,
    )


def _sink_norm(states: StateSource, factor: float) -> float:
    """`factor` times the median norm of the first chunk, to three digits: no device computes it otherwise."""
    first = next(iter(states.chunks(0, 0)), None)
    if first is None or not len(first):
        raise InputError("the texts gave no token states; check that the corpora hold text")
    return float(f"{factor * float(first.norm(dim=1).median()):.3g}")


def _cached(
    recipe: SaeRecipe, states: BackboneStates, source: StateSource, processes: Processes, progress: bool
) -> ArrayStates:
    """This process's share of the states, computed once."""
    seed = recipe.training.seed
    if recipe.states.cache == "memory":
        return cache_in_memory(source, seed=seed, progress=progress)
    share = f".{processes.rank}-of-{processes.count}" if processes.count > 1 else ""
    path = cache_folder() / "sae-states" / f"{_states_key(recipe, states)}{share}.float16"
    return cache_on_disk(source, path, seed=seed, progress=progress)


def _states_key(recipe: SaeRecipe, states: BackboneStates) -> str:
    """Names the states by what decides them: backbone, transform, texts (files by their state), tokenisation."""
    files = [
        (str(path.resolve()), state_of(path))
        for corpus in (*recipe.data.corpora, *recipe.data.exclude)
        for path in (sorted(expanded(corpus).glob("corpus.*")) if expanded(corpus).is_dir() else [expanded(corpus)])
    ]
    settings = dataclasses.asdict(recipe.states)
    for name in ("cache", "device", "token_budget"):
        del settings[name]
    facts: list[Any] = [states.backbone.identity(), files, recipe.data.max_texts, settings]
    if recipe.transform:
        facts.append(tensors_digest(states.transform.state_dict()))
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
