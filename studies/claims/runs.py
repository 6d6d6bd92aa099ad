"""The models of the study of the papers' claims: SAEs on shared token states, and retrieval trainings."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.encoder import Encoder
from saelex.errors import InputError
from saelex.files import write_text
from saelex.recipe import load_recipe
from saelex.training.retrieval.guards import TrainingStoppedError
from saelex.training.retrieval.recipe import RetrievalRecipe
from saelex.training.retrieval.run import train_retrieval
from saelex.training.sae.recipe import SaeRecipe
from saelex.training.text_reading import read_texts
from studies.states import TextStates, train_on_states, training_states

SAES = "saes"


@dataclass(frozen=True)
class StudySae:
    """An SAE of the study; all else is the recipe's `sae`."""

    layer: int = 0
    """Block, from 0."""
    width: int = 16_384
    """Latents."""

    @property
    def name(self) -> str:
        return f"layer-{self.layer}-width-{self.width}"


@dataclass(frozen=True)
class StudyRun:
    """A retrieval training of the study."""

    name: str = ""
    """Of its folder, and in the tables."""
    recipe: str = "latents.yaml"
    """File beside the study's own."""
    set: list[str] = field(default_factory=list)
    """What differs from it, as `saelex train --set` takes it."""


@dataclass(frozen=True)
class Roles:
    """Which run stands for what in the claims, by its name."""

    sae: str = ""
    """SAE head, FLOPS: what the other runs differ from."""
    vocabulary: str = ""
    """Vocabulary head, FLOPS: the control."""
    sae_df: str = ""
    """SAE head, DF-FLOPS."""
    vocabulary_df: str = ""
    """Vocabulary head, DF-FLOPS."""
    sae_no_flops: str = ""
    """SAE head, Top-K alone."""
    vocabulary_no_flops: str = ""
    """Vocabulary head, Top-K alone."""
    frozen: str = ""
    """SAE not tuned."""
    random: str = ""
    """Head drawn at random."""
    joint: str = ""
    """Reconstruction beside retrieval."""
    widths: list[str] = field(default_factory=list)
    """From SAEs of one layer, by ascending width."""
    layers: list[str] = field(default_factory=list)
    """From SAEs of one width, by ascending layer."""
    ks: list[str] = field(default_factory=list)
    """By ascending latents per token."""
    lambdas: list[str] = field(default_factory=list)
    """By ascending strength of FLOPS."""

    @property
    def heads(self) -> tuple[str, str]:
        """The SAE head and its control."""
        return self.sae, self.vocabulary

    @property
    def compared(self) -> tuple[str, str, str, str]:
        """Runs whose cost is looked into: either head with FLOPS, and with DF-FLOPS."""
        return (*self.heads, self.sae_df, self.vocabulary_df)

    @property
    def every(self) -> set[str]:
        """All runs that a claim is about."""
        alone = {self.sae_no_flops, self.vocabulary_no_flops, self.frozen, self.random, self.joint}
        return alone.union(self.compared, self.widths, self.layers, self.ks, self.lambdas)


@dataclass(frozen=True)
class ClaimsRecipe:
    """Everything that the study needs."""

    sae: SaeRecipe = field(default_factory=SaeRecipe)
    """The SAEs; layer and width are left open."""
    saes: list[StudySae] = field(default_factory=list)
    """Those that are trained; `saes/<name>` in a run's model.sae is one of them."""
    runs: list[StudyRun] = field(default_factory=list)
    """Retrieval trainings."""
    roles: Roles = field(default_factory=Roles)
    """What the claims are about."""
    blocks: int = 0
    """Of the backbone."""
    in_domain: list[str] = field(default_factory=list)
    """Collections whose train splits were used, FOLDER:SPLIT."""
    out_of_domain: list[str] = field(default_factory=list)
    """Collections that nothing was trained on."""
    queries: int = 100
    """At most so many of each collection, drawn once."""
    documents: int = 300
    """Documents of each collection: the queries' relevant ones, be they more, and others drawn once."""
    translations: str = ""
    """Folder with a collection for every language, ids aligned; none: nothing is asked across languages."""
    languages: list[str] = field(default_factory=list)
    """Languages of the passages; queries are English."""


class Runs:
    """The study's models in one folder; what is there is not trained again."""

    def __init__(self, recipe_path: Path, overrides: list[str], output: Path) -> None:
        self.recipe = load_recipe(ClaimsRecipe, recipe_path, overrides)
        self.recipes = recipe_path.parent
        self.output = output
        self.named = {run.name: run for run in self.recipe.runs}
        self._saes = {sae.name: sae for sae in self.recipe.saes}
        if unknown := self.recipe.roles.every - self.named.keys():
            raise InputError(
                f"{recipe_path}: roles names {min(unknown)!r}, which is no run; every role names one of runs"
            )
        if self.recipe.blocks < 1:
            raise InputError(f"{recipe_path}: blocks is the number of the backbone's blocks; set it")

    def train(self, name: str) -> None:
        """A run, and before it the SAE that it starts from. A training that its guards stop is a finding, and noted."""
        folder = self.output / name
        if (folder / "saelex_config.json").exists() or self._stopped(name).exists():
            return
        print(f"{name} ...", flush=True)
        recipe = self.recipe_of(name)
        if recipe.model.sae:
            self._train_sae(self._saes[Path(recipe.model.sae).name])
        try:
            train_retrieval(recipe, folder, progress=True)
        except TrainingStoppedError as error:
            write_text(self._stopped(name), [f"{error}\n"])

    def recipe_of(self, name: str) -> RetrievalRecipe:
        """Raises InputError for a name or an SAE that the study does not have."""
        if name not in self.named:
            raise InputError(f"no run {name!r}; there are {', '.join(self.named)}")
        run = self.named[name]
        recipe = load_recipe(RetrievalRecipe, self.recipes / run.recipe, run.set)
        if not recipe.model.sae:
            return recipe
        sae = Path(recipe.model.sae).name
        if sae not in self._saes:
            raise InputError(f"{name}: no SAE {recipe.model.sae}; there are {', '.join(self._saes)}")
        return replace(recipe, model=replace(recipe.model, sae=str(self.output / SAES / sae)))

    def encoder(self, name: str) -> Encoder:
        """A trained run."""
        return Encoder.load(self.output / name, device="cpu")

    def why_stopped(self, name: str) -> str:
        """What stopped the training; empty where nothing did."""
        path = self._stopped(name)
        return path.read_text(encoding="utf-8").strip() if path.exists() else ""

    def sae_facts(self) -> dict[str, dict[str, Any]]:
        """The last line of every SAE's training log: FVU, dead latents, tokens per second."""
        logs = {name: self.output / SAES / name / "metrics.jsonl" for name in self._saes}
        return {name: json.loads(log.read_text(encoding="utf-8").splitlines()[-1]) for name, log in logs.items()}

    def _stopped(self, name: str) -> Path:
        return self.output / f"{name}.stopped"

    def _train_sae(self, sae: StudySae) -> None:
        folder = self.output / SAES / sae.name
        if (folder / "cfg.json").exists():
            return  # before the states are made
        training = replace(self.recipe.sae.training, n_latents=sae.width)
        train_on_states(self.recipe.sae, self._states[sae.layer], sae.layer, training, folder)

    @cached_property
    def _states(self) -> dict[int, TextStates]:
        """Of every layer, from one pass over the texts."""
        recipe = self.recipe.sae
        backbone = Backbone.load(recipe.model, dtype=recipe.states.dtype)
        texts = list(islice(read_texts(recipe.data), recipe.data.max_texts))
        layers = sorted({sae.layer for sae in self.recipe.saes}, reverse=True)
        return training_states(recipe, backbone, layers, texts)
