"""The recipes of the study of the papers' claims agree with each other and with what is claimed of them."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

import pytest
from tests.studies.claims.made_study import RUNS, made_study, recipe_of

from saelex.errors import InputError
from saelex.training.retrieval.validation import validate
from studies.claims.claims import all_claims
from studies.claims.runs import SAES, Roles, Runs

STUDY = RUNS.recipe
NAMES = [run.name for run in STUDY.runs]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_valid_and_starts_from_an_sae_of_the_study(name: str) -> None:
    recipe = recipe_of(name)
    validate(recipe)
    if recipe.model.head == "sae":
        assert Path(recipe.model.sae).parent == Path("out") / SAES
        assert Path(recipe.model.sae).name in {sae.name for sae in STUDY.saes}
        assert recipe.model.backbone == STUDY.sae.model
    else:
        assert not recipe.model.sae


def test_names_are_of_one_thing_each_and_every_sae_is_used() -> None:
    assert len(set(NAMES)) == len(NAMES)
    used = {Path(recipe_of(name).model.sae).name for name in NAMES} - {""}
    assert used == {sae.name for sae in STUDY.saes}
    assert len(used) == len(STUDY.saes)


class Noted(dict):  # type: ignore[type-arg]
    """Remembers what was asked for."""

    def __init__(self, values: dict) -> None:  # type: ignore[type-arg]
        super().__init__(values)
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> object:
        self.asked.add(name)
        return super().__getitem__(name)


def test_the_claims_are_about_the_runs_of_the_recipe_and_about_all_of_them() -> None:
    study = made_study()  # has the recipe's runs and SAEs, and no others
    study.runs = runs = Noted(study.runs)
    all_claims(study)
    assert runs.asked == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_all_runs_have_the_same_budget_and_data(name: str) -> None:
    recipe, first = recipe_of(name), recipe_of("latents")
    assert recipe.data == first.data
    assert recipe.settings == first.settings
    assert recipe.training.max_steps == 60
    assert recipe.training.batch_queries == 32
    without = {"head_learning_rate"}  # a vocabulary's weight is the backbone's
    assert {key: value for key, value in asdict(recipe.training).items() if key not in without} == {
        key: value for key, value in asdict(first.training).items() if key not in without
    }
    assert (recipe.model.pooling, recipe.model.saturation) == (first.model.pooling, first.model.saturation)


def test_the_control_differs_by_its_head_alone() -> None:
    ours, control = recipe_of("latents"), recipe_of("vocabulary")
    assert (control.loss, control.sparsity, control.tune) == (ours.loss, ours.sparsity, ours.tune)
    assert (ours.model.head, control.model.head) == ("sae", "vocabulary")


def test_nothing_is_trained_on_what_counts_as_out_of_domain() -> None:
    trained = {Path(source.path).name for source in recipe_of("latents").data.sources}
    assert trained == {one.partition(":")[0] for one in STUDY.in_domain}
    assert not trained & {one.partition(":")[0] for one in STUDY.out_of_domain}
    assert not {one.partition(":")[0] for one in STUDY.out_of_domain} & set(STUDY.sae.data.corpora)


def test_roles_stand_for_runs_of_their_settings() -> None:
    roles = STUDY.roles
    saes = {name: next(sae for sae in STUDY.saes if Path(recipe_of(name).model.sae).name == sae.name)
            for name in (*roles.widths, *roles.layers)}  # fmt: skip
    assert [saes[name].width for name in roles.widths] == [4096, 8192, 16384, 32768]
    assert [saes[name].layer for name in roles.layers] == [2, 3, 4, 5]
    assert [recipe_of(name).model.token_k for name in roles.ks] == [4, 8, 16]
    assert [recipe_of(name).sparsity.document for name in roles.lambdas] == [1e-3, 3e-3, 1e-2]
    assert {recipe_of(name).model.head for name in (roles.vocabulary, roles.vocabulary_df)} == {"vocabulary"}
    assert roles.every == set(NAMES)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run 'width-1'; there are latents, "):
        recipe_of("width-1")
    study = tmp_path / "study.yaml"
    roles = [one.name for one in fields(Roles) if one.default == ""]
    named = "".join(f"  {role}: one\n" for role in roles)
    study.write_text(
        f"blocks: 6\nroles:\n{named}runs: [{{name: one, recipe: one.yaml}}]\nsaes: [{{layer: 1, width: 64}}]\n"
    )
    (tmp_path / "one.yaml").write_text("model: {backbone: x, sae: saes/layer-2-width-64}\n")
    with pytest.raises(InputError, match="one: no SAE saes/layer-2-width-64; there are layer-1-width-64"):
        Runs(study, [], tmp_path).recipe_of("one")
    with pytest.raises(InputError, match="blocks is the number of the backbone's blocks"):
        Runs(study, ["blocks=0"], tmp_path)
    with pytest.raises(InputError, match="roles names 'two', which is no run"):
        Runs(study, ["roles.joint=two"], tmp_path)
