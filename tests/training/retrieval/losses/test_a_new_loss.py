"""A loss and a regulariser in one place each: their settings reach a recipe, and a step is trained by them."""

from dataclasses import dataclass

import pytest
import torch
from tests.encoder.tiny_models import tiny_checkpoint
from tests.training.retrieval.toys import collator_of, examples, learning_encoder, one_step

from saelex.errors import InputError, MismatchError
from saelex.recipe import load_recipe, recipe_settings, settings_of
from saelex.training.retrieval.losses import LOSSES
from saelex.training.retrieval.losses.loss import Loss
from saelex.training.retrieval.model import RetrievalModel
from saelex.training.retrieval.objective import Objective
from saelex.training.retrieval.recipe import LossRecipe, RetrievalRecipe, SparsityRecipe
from saelex.training.retrieval.regularisers import REGULARISERS
from saelex.training.retrieval.regularisers.regulariser import Regulariser
from saelex.training.retrieval.validation import validate


@dataclass
class Pull(Loss):
    """Mean squared distance of each query from its positive, less a floor; it counts its steps."""

    name = "pull"
    title = "pull"
    positive_settings = ("pull_floor",)

    pull: float = 0.0
    """Weight of the distance."""
    pull_floor: float = 0.5
    """What is subtracted."""

    def begin(self, n_latents):
        self.steps = 0

    def value(self, step):
        self.steps += 1
        positives = step.passages[step.batch.columns[:, 0]]
        return (step.queries - positives).square().sum(dim=1).mean() - self.pull_floor

    def check(self, setup):
        if setup.data.negatives > 20:
            raise InputError("loss.pull knows no negatives; lower data.negatives")

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


@dataclass
class Mass(Regulariser):
    """The sum of the mean weights."""

    name = "mass"
    title = "mass"
    meaning = "sum of the mean weights"

    mass_factor: float = 1.0
    """Factor of the sum."""

    def value(self, weights):
        return self.mass_factor * weights.mean(0).sum()


@dataclass(frozen=True)
@settings_of(Pull)
class WithPull(LossRecipe):
    pass


@dataclass(frozen=True)
@settings_of(Mass)
class WithMass(SparsityRecipe):
    kind: str = "mass"


@dataclass(frozen=True)
class ToyRecipe(RetrievalRecipe):
    loss: WithPull = WithPull()
    sparsity: WithMass = WithMass()


YAML = """
model: {encoder: unused, device: cpu}
data: {sources: [{path: unused}]}
loss: {kl: 0, pull: 0.5, pull_floor: 0.25}
sparsity: {kind: mass, mass_factor: 3, query: 0.01, document: 0}
training: {batch_queries: 8, max_steps: 1, clip_norm: 0, learning_rate: 1e-9, log_every: 1}
"""


def toy_recipe(tmp_path, *overrides):
    (tmp_path / "recipe.yaml").write_text(YAML)
    return load_recipe(ToyRecipe, tmp_path / "recipe.yaml", overrides)


def test_the_files_of_the_rooms_are_the_losses_and_regularisers_and_have_help():
    assert {loss.name for loss in LOSSES} == {"kl", "embedding_kl", "margin_mse", "info_nce", "reconstruction"}
    assert {kind.name for kind in REGULARISERS} == {"flops", "df_flops"}
    every = {setting.name: setting for setting in recipe_settings(RetrievalRecipe)}
    shown = {name: setting for name, setting in every.items() if name.startswith(("loss.", "sparsity."))}
    assert [name for name, setting in shown.items() if not setting.help] == []
    assert (shown["loss.kl"].default, shown["loss.kl"].kind) == (1.0, "float")
    assert shown["loss.in_batch"].kind == "bool"
    assert shown["sparsity.kind"].kind == "Literal['df_flops', 'flops']"
    assert "document frequency at which" in shown["sparsity.df_alpha"].help


def test_its_settings_are_those_of_the_recipe(tmp_path):
    shown = {setting.name: setting.help for setting in recipe_settings(ToyRecipe)}
    assert shown["loss.pull"] == "Weight of the distance."
    recipe = toy_recipe(tmp_path)
    validate(recipe)
    assert recipe.loss.terms == [Pull(pull=0.5, pull_floor=0.25)]
    assert recipe.sparsity.regulariser == Mass(3.0)
    with pytest.raises(InputError, match=r"loss\.pull_floor is a positive number, not -1"):
        validate(toy_recipe(tmp_path, "loss.pull_floor=-1"))
    with pytest.raises(InputError, match="knows no negatives"):
        validate(toy_recipe(tmp_path, "data.negatives=21"))
    with pytest.raises(InputError, match=r"loss\.kl, .*and loss\.pull are all 0"):
        validate(toy_recipe(tmp_path, "loss.pull=0"))
    with pytest.raises(InputError, match=r"sparsity\.kind is one of df_flops, flops, mass, not 'rubbish'"):
        validate(toy_recipe(tmp_path, "sparsity.kind=rubbish"))


def test_two_settings_of_one_name_are_refused():
    with pytest.raises(TypeError, match="has a setting pull already"):

        @settings_of(Pull)
        class Twice:
            pull: float = 1.0


def test_a_step_is_trained_by_it(tmp_path):
    """The gradient is that of 0.5 (mean ||q - p||^2 - 0.25) + 0.01 * 3 * sum of the queries' mean weights."""
    folder = tiny_checkpoint("bert", tmp_path / "bert")
    gradients = one_step(folder, tmp_path / "run", toy_recipe(tmp_path))
    encoder = learning_encoder(folder)
    batch = collator_of(encoder)(examples())
    vectors = RetrievalModel(encoder)(batch.chunks[0])
    queries, positives = vectors.queries, vectors.passages[batch.columns[:, 0]]
    (0.5 * (queries - positives).square().sum(1).mean() + 0.03 * queries.mean(0).sum()).backward()
    expected = encoder.head.weight.grad
    assert float(expected.abs().max()) > 1e-3
    torch.testing.assert_close(gradients["head.weight"], expected, atol=1e-6, rtol=1e-6)


def test_its_state_goes_on_and_that_of_another_recipe_is_refused(tmp_path):
    recipe = toy_recipe(tmp_path)
    first, second = (Objective(recipe.loss, recipe.sparsity, 4) for _ in range(2))
    first.losses[0].steps = 7
    second.load_state_dict(first.state_dict())
    assert second.losses[0].steps == 7
    frequent = Objective(LossRecipe(kl=1.0), SparsityRecipe(kind="df_flops"), 4)
    for state in ({}, first.state_dict(), {"frequencies": {"counts": torch.zeros(4), "documents": 0.0}}):
        with pytest.raises(MismatchError, match="of another recipe or version of saelex; start over with --no-resume"):
            frequent.load_state_dict(state)
