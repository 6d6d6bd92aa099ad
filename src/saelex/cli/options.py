"""Arguments that several verbs share, and how they are read."""

from __future__ import annotations

import json
import os
import re
import signal
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from saelex.cli.logs import say, say_error
from saelex.errors import InputError
from saelex.files import absolute
from saelex.hub import check_obtainable

if TYPE_CHECKING:
    from saelex.encoder.encoder import Encoder
    from saelex.encoder.runtimes.runtime import Precision as PrecisionName
    from saelex.encoder.runtimes.runtime import RuntimeChoice
    from saelex.engines.engine import Engine
    from saelex.index.index import Index
    from saelex.index.text_encoder import TextEncoder

DEFAULT_MODEL = "saelex-minilm"

Model = Annotated[str, typer.Option("--model", "-m", help="Embedded model, model folder or hub id.")]
Runtime = Annotated[
    str,
    typer.Option(
        "--runtime",
        help="What computes: auto, torch, numpy, onnxruntime or openvino; all but torch are for models of saelex over "
        "a BERT. auto is numpy for these where no GPU is.",
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        help="Of a runtime's products: float32 (default), bfloat16 (torch, openvino), int8 (onnxruntime).",
    ),
]
Moved = Annotated[
    str | None, typer.Option("--model", "-m", help="The index's own encoder, where its folder has moved since.")
]
Indexes = Annotated[
    list[str], typer.Argument(metavar="INDEX...", help="Indexes: PATH, or NAME=PATH to be found by that name.")
]
Wait = Annotated[
    float,
    typer.Option("--wait", metavar="SECONDS", min=0, help="Wait so long until another process has written to it."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Boost = Annotated[
    list[str],
    typer.Option("--boost", metavar="CONCEPT[=FACTOR]", help="Count a concept (label or id) more; doubled by default."),
]
Ban = Annotated[list[str], typer.Option("--ban", metavar="CONCEPT", help="Leave a concept out of the query.")]
Add = Annotated[list[str], typer.Option("--add", metavar="CONCEPT=WEIGHT", help="Put a concept into the query.")]
Where = Annotated[
    list[str],
    typer.Option(
        "--where", metavar="FIELD=VALUE", help="Only documents whose metadata says so; also !=, <, <=, >, >=."
    ),
]
Language = Annotated[
    str | None,
    typer.Option(
        "--language",
        metavar="CODE",
        help="Stemmer and stop words of exact words, by ISO 639-1 code; none takes words as they are, auto goes by the "
        "language that each text tells. The model's own for an index, else en.",
    ),
]
Reader = Annotated[
    str | None,
    typer.Option(
        "--language",
        metavar="CODE",
        help="Show labels in this language (ISO 639-1) where there are some; unless given, in the query's or text's.",
    ),
]
Set = Annotated[
    list[str],
    typer.Option("--set", metavar="NAME=VALUE", help="Change a setting of the recipe; --settings names them."),
]
IdField = Annotated[str | None, typer.Option(metavar="NAME", help="JSONL, CSV, TSV: what holds the id.")]
TextField = Annotated[str | None, typer.Option(metavar="NAME", help="What holds the text.")]
TitleField = Annotated[str | None, typer.Option(metavar="NAME", help="What holds the title.")]
RecipeFile = Annotated[
    Path | None, typer.Argument(metavar="RECIPE", help="YAML file, or one of the names that `saelex recipes` lists.")
]
RecipeSettings = Annotated[bool, typer.Option("--settings", help="List every setting of a recipe and stop.")]

_TAKEN = ("indexes", "embeddings")  # paths of their own below the server's /v1
_CONDITION = re.compile(r"\s*([^<>=!]+?)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*", re.DOTALL)


def named_language(language: str | None) -> str:
    """What `--language` names, else the default. Raises InputError for an unknown one."""
    from saelex.encoder.words.languages import DEFAULT_LANGUAGE, check_language

    if language is None:
        return DEFAULT_LANGUAGE
    check_language(language)
    return language


def check_models(names: Iterable[str]) -> None:
    """Raises InputError for hub ids that cannot be had now: at once, before torch and its like are imported.

    Backbones that install from PyPI may lie elsewhere on this machine (`saelex.encoder.backbone.packaged`).
    """
    from saelex.encoder.backbone.packaged import PACKAGED

    for name in names:
        if name not in PACKAGED:
            check_obtainable(name)


def check_saes(names: Iterable[str]) -> None:
    """The same of SAEs; those of the catalogue are files of repositories that have other names."""
    from saelex.sae.catalogue import resolve

    for name in names:
        if resolve(name) is None:
            check_obtainable(name)


def load_encoder(model: str, runtime: str = "auto", precision: str | None = None) -> Encoder:
    """The encoder that `--model` names, on what `--runtime` and `--precision` say."""
    from saelex.encoder.runtimes.runtime import check_arithmetic

    check_arithmetic(runtime, precision)
    check_models([model])
    from saelex.encoder.encoder import Encoder

    return Encoder.load(
        model, runtime=cast("RuntimeChoice", runtime), precision=cast("PrecisionName | None", precision)
    )


def open_index(path: Path, model: str | None = None, *, wait: float = 0.0) -> Index:
    """An index with the encoder it names, or with the one that is named here; it must be the same.

    wait: for another writer, in seconds.
    """
    from saelex.index.index import Index

    return Index.open(path, None if model is None else load_encoder(model), wait=wait)


def named_paths(sources: Sequence[str]) -> dict[str, Path]:
    """Indexes by name, of NAME=PATH or of PATH, whose name is the folder's without `.saelex`.

    Raises InputError for a name that is there twice, or that no address can have.
    """
    paths: dict[str, Path] = {}
    for source in sources:
        name, equals, place = source.partition("=")
        if not equals or os.sep in name or Path(source).exists():
            name, place = absolute(source).name.removesuffix(".saelex"), source
        if not name or name in (".", "..", *_TAKEN) or any(sign in name for sign in "/?#%\\"):
            raise InputError(f"{source}: {name!r} cannot be part of an address; name it otherwise, as in NAME={place}")
        if name in paths:
            raise InputError(f"two indexes are called {name!r}; give one another name, as in NAME={place}")
        paths[name] = Path(place)
    return paths


@contextmanager
def open_indexes(paths: Mapping[str, Path], model: str | None = None) -> Iterator[dict[str, Index]]:
    """Several indexes with their encoders loaded, one for all that were made with the same; closed at the end.

    model: the encoder of all of them, as in `open_index`.
    """
    from saelex.index.index import Index

    with ExitStack() as stack:
        indexes: dict[str, Index] = {}
        given = None if model is None else load_encoder(model)
        encoders: dict[str, TextEncoder] = {}
        for name, path in paths.items():
            index = Index.open(path, given)
            if given is None and (known := encoders.get(index.settings["fingerprint"])):
                index.close()
                index = Index.open(path, known)
            indexes[name] = stack.enter_context(index)
            encoders[index.settings["fingerprint"]] = index.encoder
        yield indexes


def is_url(text: str) -> bool:
    """Whether something names an engine, and not a path."""
    return "://" in text


def open_searched(where: str, model: str | None = None) -> Index | Engine:
    """An index by its path, or an engine by its URL, with the encoder it names or the one that is named here."""
    if not is_url(where):
        return open_index(Path(where), model)
    from saelex.engines.engine import Engine

    return Engine.open(where, None if model is None else load_encoder(model))


def say_where_lacking(index: Index | Engine, language: str | None) -> None:
    """On stderr: the language that `--language` names is none that the index has labels in."""
    there = () if index.concepts is None else index.concepts.languages
    if language is not None and language not in there:
        only = f", only in {', '.join(there)}" if there else ""
        say(f"saelex: no labels in {language} here{only}; those of the whole corpus are shown")


def print_json(value: Any) -> None:
    """To stdout, readable, one value."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_settings(recipe: type[Any], indent: str = "") -> None:
    """Every setting that a recipe of this kind may hold: name, default, type and meaning."""
    from saelex.recipe import recipe_settings

    for setting in recipe_settings(recipe):
        line = f"{setting.name} = {setting.default!r}  ({setting.kind})\n    {setting.help}"
        typer.echo(textwrap.indent(line, indent))


@contextmanager
def stopping_in_order() -> Iterator[None]:
    """Inside, SIGTERM (`kill`, a batch system, a container that is stopped) is an interrupt from the keyboard.

    What either of them leaves is said on stderr.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        say_error(f"interrupted; {interrupt}" if str(interrupt) else "interrupted")
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def read_where(conditions: Iterable[str]) -> dict[str, Any] | None:
    """`Index.search`'s filter from conditions such as "lang=en" and "year>=2001"; None for none.

    A value is a JSON number, true, false, null or quoted string; anything else is itself. A field may have several
    comparisons. Raises InputError for a condition that cannot be read, or that contradicts another by its form.
    """
    where: dict[str, dict[str, Any]] = {}
    for condition in conditions:
        found = _CONDITION.fullmatch(condition)
        if found is None:
            raise InputError(f"--where {condition!r}: write FIELD=VALUE, as in lang=en or year>=2001")
        field, operator, text = found.groups()
        if operator in where.setdefault(field, {}):
            raise InputError(f"--where: {field}{operator} is there twice")
        where[field][operator] = _value(text)
    return where or None


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, (list, dict)) else value
