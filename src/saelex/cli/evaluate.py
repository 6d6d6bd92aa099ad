"""`saelex evaluate`: an encoder on test collections, beside baselines, other models and runs of other systems."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from json import dumps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saelex.cli.encode import read_top_k
from saelex.cli.engine_runs import write_engine_runs
from saelex.cli.logs import say
from saelex.cli.options import (
    DEFAULT_MODEL,
    Json,
    Language,
    Model,
    check_models,
    load_encoder,
    named_language,
    print_json,
)
from saelex.cli.runs import DEFAULT_MEASURES, IgnoreOwnIds, Measures, named_files, split_names
from saelex.errors import InputError
from saelex.files import expanded

if TYPE_CHECKING:
    from saelex.corpus.collection import Collection
    from saelex.encoder.encoder import Encoder
    from saelex.encoder.settings import TopKChoice
    from saelex.evaluation.evaluate import Plan
    from saelex.evaluation.languages.sets import LanguageSet
    from saelex.evaluation.results import Evaluation

    TopK = tuple[TopKChoice, TopKChoice]

_BASELINES = ("bm25", "dense", "rrf")  # `saelex.evaluation.evaluate.BASELINES`, without importing it for --help


def evaluate(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="COLLECTION[:SPLIT]...",
            # no brackets: rich takes some of them for markup
            help="Test collections. FOLDER, in BEIR's or mteb's layout. hf:OWNER/NAME, mteb's layout on the hub, "
            "perhaps with @REVISION, then /SUBSET behind it. ir_datasets:ID. trec:TOPICS,QRELS,CORPUS, three files. "
            "FIRST+SECOND, queries of one and documents of the other, which have equal ids and judgements as "
            "translations do; :SPLIT behind it is of both. An ID names its split itself, and files have none.",
        ),
    ],
    model: Model = DEFAULT_MODEL,
    split: Annotated[str, typer.Option(help="Split of the collections that name none.")] = "test",
    against: Annotated[
        list[str],
        typer.Option(
            metavar="SYSTEM",
            help="bm25, dense (the backbone's own embedding), rrf (the fusion of both), or another model: embedded, "
            "folder or hub id; repeatable.",
        ),
    ] = [],  # noqa: B006
    run: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=FILE",
            help="A TREC run of another system; {set} in FILE stands for the collection's name; repeatable.",
        ),
    ] = [],  # noqa: B006
    reference: Annotated[
        str | None,
        typer.Option(metavar="SYSTEM", help="What all others are compared with; the first --against unless given."),
    ] = None,
    engine: Annotated[
        list[str],
        typer.Option(
            metavar="URL",
            help="Search an engine that the collection was pushed to as well; {set} in URL stands for the collection's "
            "name; repeatable.",
        ),
    ] = [],  # noqa: B006
    measures: Measures = DEFAULT_MEASURES,
    json: Json = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the rows as JSON, beside the table.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write a report: an HTML page, Markdown, plots and JSON.")
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write every system's answers there, as TREC runs.")
    ] = None,
    top_k: Annotated[
        str,
        typer.Option(
            metavar="QUERY/DOCUMENT",
            help="Latents that all models keep: 40/400, all/all; default/default: each model's own.",
        ),
    ] = "default/default",
    language: Language = None,
    languages: Annotated[
        str | None,
        typer.Option(
            metavar="QUERIES[/DOCUMENTS]",
            help="Every one of these languages asked in every one: de,es,en; de,es/en; all. Each is a sub-folder or "
            "subset of COLLECTION, or stands for {language} in it; ids and judgements agree, as those of translations.",
        ),
    ] = None,
    mixed: Annotated[
        bool, typer.Option("--mixed", help="With --languages: search one index of all languages, too.")
    ] = False,
    ignore_own_ids: IgnoreOwnIds = None,
) -> None:
    """Quality, significance and cost, through a real index, of concepts alone and of concepts with words.

    Ties go to the smaller document id. Vectors are kept in the user's cache folder: a second evaluation of a model on a
    collection encodes nothing but a small sample, to time it. With --languages nothing is timed; each language has
    its own words, and --language is of those beside concepts alone.
    """
    kept, spoken = _read_top_k(top_k), named_language(language)
    check_models([model, *against])
    if languages is None and mixed:
        raise InputError("--mixed is one index of several languages; name them with --languages")
    if languages is not None and runs is not None:
        raise InputError("--runs is of single collections; name a pair of languages, as in xquad/de+xquad/en")
    if languages is not None and engine:
        raise InputError("--engine is of single collections; name a pair of languages, as in xquad/de+xquad/en")
    if report is not None:
        from saelex.evaluation.report import check_target

        check_target(report)
    sets = [] if languages is None else _language_sets(paths, split, languages, language, ignore_own_ids)
    collections = [] if sets else _collections(paths, split, ignore_own_ids)
    from saelex.evaluation.evaluate import Plan

    encoder = _encoder(model, kept)
    with TemporaryDirectory(prefix="saelex-evaluate-") as scratch:
        searched = write_engine_runs(engine, collections, encoder, split_names(measures), Path(scratch))
        plan = Plan.of(
            encoder,
            against=[name if name in _BASELINES else _other_encoder(name, kept) for name in against],
            runs={**named_files(run), **searched},
            measures=split_names(measures),
            reference=reference,
            language=spoken,
        )
        if sets:
            _evaluate_languages(plan, sets, mixed, report, json, output)
        else:
            _evaluate_collections(plan, collections, report, json, output, runs)


def _collections(paths: list[str], split: str, ignore_own_ids: bool | None) -> list[Collection]:
    from saelex.corpus.opening import named_split, read_collection

    collections = [read_collection(*named_split(source, split)) for source in paths]
    if ignore_own_ids is None:
        return collections
    return [replace(collection, ignore_own_ids=ignore_own_ids) for collection in collections]


def _language_sets(
    paths: list[str], split: str, languages: str, index_language: str | None, ignore_own_ids: bool | None
) -> list[LanguageSet]:
    from saelex.evaluation.languages.sets import LanguageSet

    sets = [LanguageSet.read(source, languages, split, index_language) for source in paths]
    return sets if ignore_own_ids is None else [one.with_own_ids(ignore_own_ids) for one in sets]


def _evaluate_collections(
    plan: Plan,
    collections: list[Collection],
    report: Path | None,
    json: bool,
    output: Path | None,
    runs: Path | None,
) -> None:
    from saelex.cli.evaluation_rows import print_evaluation, rows_of
    from saelex.evaluation.evaluate import evaluate_plan

    with TemporaryDirectory(prefix="saelex-evaluate-") as scratch:
        indexes = None if report is None else Path(scratch)
        found = evaluate_plan(plan, collections, indexes=indexes, command=_command(), progress=True)
        if report is not None:
            _write_report(plan, found, collections, Path(scratch), report)
    _show([row.to_json() for row in rows_of(found)], json, output, lambda: print_evaluation(found))
    if runs is not None:
        _write_runs(found, runs)


def _evaluate_languages(
    plan: Plan, sets: list[LanguageSet], mixed: bool, report: Path | None, json: bool, output: Path | None
) -> None:
    from saelex.cli.language_matrix import print_languages
    from saelex.evaluation.languages.evaluate import evaluate_languages

    found = evaluate_languages(plan, sets, mixed=mixed, command=_command(), progress=True)
    if report is not None:
        from saelex.evaluation.report import write_language_report

        say(f"report: {write_language_report(found, report)}")
    _show(found.to_json(), json, output, lambda: print_languages(found))


def _command() -> str:
    return shlex.join(["saelex", *sys.argv[1:]])


def _read_top_k(text: str) -> TopK:
    query, separator, document = text.partition("/")
    if not separator:
        raise InputError(f"--top-k is QUERY/DOCUMENT, as in 40/400, not {text!r}")
    return read_top_k(query), read_top_k(document)


def _encoder(model: str, kept: TopK) -> Encoder:
    encoder = load_encoder(model)
    settings = encoder.settings
    encoder.settings = replace(
        settings, query_top_k=settings.top_k("query", kept[0]), document_top_k=settings.top_k("document", kept[1])
    )
    return encoder


def _other_encoder(model: str, kept: TopK) -> Encoder:
    try:
        return _encoder(model, kept)
    except InputError as error:
        raise InputError(f"--against takes {', '.join(_BASELINES)} or a model: {error}") from error


def _write_report(plan: Plan, found: Evaluation, collections: list[Collection], indexes: Path, folder: Path) -> None:
    from saelex.evaluation.report import indexed_examples, write_report

    examples = indexed_examples(found, collections, plan.searchers, indexes)
    say(f"report: {write_report(found, folder, examples=examples)}")


def _write_runs(found: Evaluation, folder: Path) -> None:
    """`SET.SPLIT.SYSTEM.trec` for every system of every collection."""
    from saelex.corpus.trec.runs import write_run

    folder = expanded(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written: set[str] = set()
    for result in found.collections:
        for one in result.systems:
            parts = (result.name, result.split, one.system)
            name = ".".join(re.sub(r"[^\w+-]+", "_", part) for part in parts if part)
            while name in written:  # names that differ only in what a file name cannot hold
                name += "_"
            written.add(name)
            write_run(folder / f"{name}.trec", one.run, tag=re.sub(r"\s+", "_", one.system))


def _show(values: Any, json: bool, output: Path | None, show: Callable[[], None]) -> None:
    """As JSON values in a file, and on stdout as JSON or as `show` has it."""
    from saelex.files import write_text

    if output is not None:
        write_text(output, [dumps(values, indent=2) + "\n"])
    if json:
        print_json(values)
    else:
        show()
