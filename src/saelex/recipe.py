"""Recipes: a YAML file read into dataclasses, with overrides, and help from the fields' docstrings."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import math
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from saelex.errors import InputError
from saelex.files import expanded
from saelex.reading.yaml_file import parse_yaml, read_yaml

Recipe = TypeVar("Recipe")
Section = TypeVar("Section")
Part = TypeVar("Part")

_HELP = "help"  # in a field's metadata
_PARTS = "parts_of_section"  # of a class that `settings_of` has decorated


class Setting(NamedTuple):
    """One setting of a recipe, as help shows it."""

    name: str
    """Dotted, as `--set` takes it."""
    kind: str
    default: Any
    help: str


def load_recipe(kind: type[Recipe], path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a YAML recipe into a dataclass. path: of a file, or the name of one that comes with saelex (`find_recipe`).

    overrides: "a.b=value" each, the value in YAML; applied after the file, the last one winning.
    Raises InputError for unreadable YAML, an unknown setting (naming the nearest one) or a value of the wrong type.
    """
    path = find_recipe(path)
    values = read_yaml(path, "a recipe") or {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: a recipe is a mapping of settings, not a {type(values).__name__}")
    return build_recipe(kind, values, overrides)


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of the recipes that come with saelex: `splare/llama31_8b`, in the wheel or in a source checkout."""
    package = Path(__file__).resolve().parent
    root = next((path for path in (package / "recipes", package.parents[1] / "recipes") if path.is_dir()), None)
    files = [] if root is None else sorted(root.rglob("*.yaml"))
    return {path.relative_to(str(root)).with_suffix("").as_posix(): path for path in files}


def find_recipe(name: str | Path) -> Path:
    """The file of this path or, where there is none, the recipe that comes with saelex under this name.

    `recipes/` before the name and `.yaml` behind it may be there, as in a checkout; a folder's name is enough where it
    holds one recipe. Raises InputError where there is neither, naming what is near.
    """
    path = expanded(name)
    if path.is_file():
        return path
    shipped = shipped_recipes()
    asked = path.as_posix().removeprefix("./").removeprefix("recipes/").removesuffix(".yaml").rstrip("/")
    if asked in shipped:
        return shipped[asked]
    within = [one for one in shipped if one.startswith(f"{asked}/")]
    if len(within) == 1:
        return shipped[within[0]]
    near = within or difflib.get_close_matches(asked, shipped, 3, 0.5)
    known = f"there are {', '.join(near)}" if near else "`saelex recipes` lists them"
    raise InputError(f"{name}: cannot be read: no such file, nor a recipe that comes with saelex; {known}")


def build_recipe(kind: type[Recipe], values: dict[str, Any], overrides: Sequence[str]) -> Recipe:
    """A dataclass out of settings, changed by "a.b=value" each. Raises InputError as `load_recipe` does."""
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise InputError(f"--set {override}: write it as name=value, for example training.k=16")
        _put(values, name.strip(), parse_yaml(text, f"--set {override}"))
    return _build(kind, values, "", _names(kind))


def recipe_settings(kind: type, prefix: str = "") -> Iterator[Setting]:
    """All settings of a recipe's dataclass, nested ones with dotted names, with their docstrings."""
    hints, docs = typing.get_type_hints(kind), _field_docs(kind)
    for item in dataclasses.fields(kind):
        name = f"{prefix}{item.name}"
        if dataclasses.is_dataclass(hints[item.name]):
            yield from recipe_settings(hints[item.name], f"{name}.")
        else:
            default = item.default_factory() if callable(item.default_factory) else item.default
            yield Setting(name, _shown(item.type, hints[item.name]), default, docs.get(item.name, ""))
            items = typing.get_args(hints[item.name])
            if typing.get_origin(hints[item.name]) is list and _is_section(items[0]):
                yield from recipe_settings(items[0], f"{name}[].")


def settings_of(*parts: type) -> Callable[[type[Section]], type[Section]]:
    """Decorator of a section, below its `@dataclass`: after its own settings come the fields of other dataclasses.

    So a part declares its settings, with their help, where they are read; `parts_of` makes it of a section's values.
    Raises TypeError where two of them share a name.
    """

    def add(section: type[Section]) -> type[Section]:
        own = section.__annotations__
        for part in parts:
            hints, docs = typing.get_type_hints(part), _field_docs(part)
            for item in dataclasses.fields(part):
                if item.name in own:
                    raise TypeError(f"{section.__name__} has a setting {item.name} already; rename that of {part}")
                own[item.name] = hints[item.name]
                setattr(section, item.name, dataclasses.field(default=item.default, metadata={_HELP: docs[item.name]}))
        setattr(section, _PARTS, (*getattr(section, _PARTS, ()), *parts))
        return section

    return add


def parts_of(section: Any, kind: type[Part]) -> list[Part]:
    """The parts of a section that `settings_of` added, of one kind, each with the section's values."""
    return [
        part(**{item.name: getattr(section, item.name) for item in dataclasses.fields(part)})
        for part in getattr(section, _PARTS)
        if issubclass(part, kind)
    ]


def _put(values: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, last = dotted.split(".")
    for section in sections:
        inner = values.get(section)
        if not isinstance(inner, dict):
            inner = {}
            values[section] = inner
        values = inner
    values[last] = value


def _build(kind: type[Recipe], values: dict[str, Any], prefix: str, known: list[str]) -> Recipe:
    hints = typing.get_type_hints(kind)
    given: dict[str, Any] = {}
    for name, value in values.items():
        dotted = f"{prefix}{name}"
        if name not in hints:
            candidates = [*(f"{prefix}{sibling}" for sibling in hints), *known]
            nearest = difflib.get_close_matches(dotted, candidates, n=1, cutoff=0.5)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else f"; known are {', '.join(known) or 'none'}"
            raise InputError(f"unknown setting {dotted!r}{hint}")
        if dataclasses.is_dataclass(hints[name]):
            if not isinstance(value, dict):
                raise InputError(f"setting {dotted!r} is a section with settings of its own, not {value!r}")
            given[name] = _build(hints[name], value, f"{dotted}.", known)
        else:
            given[name] = _convert(hints[name], value, dotted)
    return kind(**given)


def _convert(hint: Any, value: Any, name: str) -> Any:
    """A YAML value as the field's type; YAML reads 1e-4 as text, and 1e6 for an integer is meant as one."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        kinds = [a for a in arguments if a is not type(None)]
        if len(kinds) == 1:
            return _convert(kinds[0], value, name)
        for kind in kinds:
            with suppress(InputError):
                return _convert(kind, value, name)
        raise InputError(f"setting {name!r} is of type {' or '.join(kind.__name__ for kind in kinds)}, not {value!r}")
    if origin is Literal:
        if value in arguments:
            return value
        raise InputError(f"setting {name!r} is one of {', '.join(map(str, arguments))}, not {value!r}")
    if origin is list:
        if isinstance(value, list):
            return [_item(arguments[0], item, f"{name}[{i}]") for i, item in enumerate(value)]
    elif origin is dict:
        if isinstance(value, dict):
            return {str(key): _convert(arguments[1], item, f"{name}.{key}") for key, item in value.items()}
    elif hint in (int, float) and not isinstance(value, bool):
        try:
            number = float(value)
            if math.isfinite(number) and (hint is float or number == int(number)):
                return hint(number)
        except (TypeError, ValueError, OverflowError):
            pass
    elif isinstance(value, hint):
        return value
    wanted = origin.__name__ if origin in (list, dict) else hint.__name__
    raise InputError(f"setting {name!r} is of type {wanted}, not {value!r}")


def _item(hint: Any, value: Any, name: str) -> Any:
    """One item of a list: a value, or a section of settings."""
    if not _is_section(hint):
        return _convert(hint, value, name.partition("[")[0])
    if not isinstance(value, dict):
        raise InputError(f"setting {name!r} is a section with settings of its own, not {value!r}")
    return _build(hint, value, f"{name}.", [f"{name}.{own}" for own in _names(hint)])


def _shown(declared: Any, hint: Any) -> str:
    """A type as it is written; choices by name even where an alias stands for them."""
    written = isinstance(declared, str) and typing.get_origin(hint) is not Literal
    return str(declared) if written else inspect.formatannotation(hint)


def _is_section(hint: Any) -> bool:
    return dataclasses.is_dataclass(hint)


def _names(kind: type) -> list[str]:
    return [setting.name for setting in recipe_settings(kind)]


def _field_docs(kind: type) -> dict[str, str]:
    """The string written under each field of a dataclass, or what stands for it where a part declares the field."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    docs = {item.name: item.metadata[_HELP] for item in dataclasses.fields(kind) if _HELP in item.metadata}
    for item, following in zip(body.body, body.body[1:]):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and isinstance(following, ast.Expr):
            docs[item.target.id] = inspect.cleandoc(ast.literal_eval(following.value))
    return docs
