import re
import shlex
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest

from saelex.errors import InputError
from saelex.recipe import build_recipe, find_recipe, load_recipe, recipe_settings, shipped_recipes
from saelex.training.sae.recipe import SaeRecipe


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    """How fast."""
    steps: int | None = None
    """How long,
    in steps."""
    kind: Literal["a", "b"] = "a"
    flag: bool = False


@dataclass(frozen=True)
class Outer:
    name: str = ""
    """What it is called."""
    files: list[str] = field(default_factory=list)
    inner: Inner = field(default_factory=Inner)


def load(tmp_path, text, *overrides):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return load_recipe(Outer, path, overrides)


def test_reads_nested_settings_and_overrides(tmp_path):
    text = "name: x\nfiles: [a, b]\ninner:\n  rate: 1e-3\n  steps: 2e3\n"
    assert load(tmp_path, text) == Outer("x", ["a", "b"], Inner(0.001, 2000))
    changed = load(tmp_path, text, "inner.rate=5", "files=[c]", "inner.kind=b", "inner.steps=null", "inner.flag=true")
    assert changed == Outer("x", ["c"], Inner(5.0, None, "b", True))
    assert load(tmp_path, "", "inner.steps=7") == Outer(inner=Inner(steps=7))


def test_a_setting_of_two_types_is_of_the_first_that_fits(tmp_path):
    @dataclass(frozen=True)
    class Sized:
        size: int | str | None = 3

    for text, size in (("5", 5), ("1e1", 10), ("5+80%", "5+80%"), ("null", None)):
        assert build_recipe(Sized, {}, [f"size={text}"]) == Sized(size)
    with pytest.raises(InputError, match=r"'size' is of type int or str, not 1\.5"):
        build_recipe(Sized, {"size": 1.5}, [])


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("inner: {rat: 1}", [], "unknown setting 'inner.rat'; did you mean 'inner.rate'?"),
        ("", ["iner.rate=1"], "unknown setting 'iner'; did you mean 'inner'?"),
        ("inner: {steps: many}", [], "'inner.steps' is of type int, not 'many'"),
        ("inner: {steps: 1.5}", [], "'inner.steps' is of type int, not 1.5"),
        ("inner: {flag: 1}", [], "'inner.flag' is of type bool"),
        ("inner: {kind: c}", [], "'inner.kind' is one of a, b"),
        ("inner: 3", [], "'inner' is a section"),
        ("files: a", [], "'files' is of type list"),
        ("name: 3", [], "'name' is of type str"),
        ("- a", [], "a recipe is a mapping"),
        ("a: [", [], "not YAML"),
        ("", ["name"], "write it as name=value"),
        ("", ["name=["], "--set name="),
    ],
)
def test_mistakes_are_named(tmp_path, text, overrides, message):
    with pytest.raises(InputError) as error:
        load(tmp_path, text, *overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml"):
        load_recipe(Outer, tmp_path / "none.yaml")


def test_field_docstrings_are_the_help():
    shown = {setting.name: setting for setting in recipe_settings(Outer)}
    assert list(shown) == ["name", "files", "inner.rate", "inner.steps", "inner.kind", "inner.flag"]
    assert shown["inner.rate"].help == "How fast."
    assert shown["inner.steps"].help == "How long,\nin steps."
    assert (shown["inner.steps"].kind, shown["inner.steps"].default) == ("int | None", None)
    assert shown["files"].default == []


def test_every_setting_of_the_sae_recipe_is_explained():
    assert [setting.name for setting in recipe_settings(SaeRecipe) if not setting.help] == []


def test_shipped_recipe_is_valid():
    recipe = load_recipe(SaeRecipe, "recipes/sae/minilm.yaml", ["training.k=8"])
    assert (recipe.training.n_latents, recipe.training.k, recipe.training.tokens) == (16_384, 8, 6_000_000)


@pytest.mark.parametrize("path", sorted(Path("recipes/sae").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_command_and_the_variants_that_a_shipped_recipe_names_are_valid(path):
    text = path.read_text()
    words = shlex.split(text.partition("\n")[0])
    assert words[words.index("train-sae") + 1] == path.as_posix()
    overrides = [word for before, word in pairwise(words) if before == "--set"]
    assert load_recipe(SaeRecipe, path, overrides).data.corpora
    for line in text.splitlines()[1:]:
        variant = re.findall(r"--set ([a-z_.]+=(?:'[^']*'|[\w.]*\w))", line)  # a line's settings go together
        load_recipe(SaeRecipe, path, [override.replace("'", "") for override in variant])


def test_recipes_that_come_with_saelex_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[1] / "recipes"
    assert set(shipped_recipes().values()) == set(root.rglob("*.yaml"))
    monkeypatch.chdir(tmp_path)
    for name in ("sae/minilm", "recipes/sae/minilm.yaml", "./recipes/sae/minilm.yaml"):
        assert find_recipe(name) == root / "sae/minilm.yaml"
    assert find_recipe("cross_lingual") == root / "cross_lingual/xquad.yaml"
    with pytest.raises(InputError, match=r"there are splare/gemma2_2b, splare/gemma3_1b"):
        find_recipe("splare")
    with pytest.raises(InputError, match="there are sae/minilm"):
        find_recipe("sae/minilmm")
    (tmp_path / "sae").mkdir()
    (tmp_path / "sae/minilm").write_text("{}")
    assert find_recipe("sae/minilm") == Path("sae/minilm")  # the user's own file goes first


def test_the_wheel_carries_the_recipes() -> None:
    included = (Path(__file__).parents[1] / "pyproject.toml").read_text().partition("wheel.force-include]")[2]
    assert '"recipes" = "saelex/recipes"' in included.partition("\n[")[0]
