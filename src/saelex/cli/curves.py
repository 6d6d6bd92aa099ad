"""`saelex curves`: what each knob costs and brings, as points in JSON and as pictures."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saelex.cli.encode import read_top_k
from saelex.cli.options import DEFAULT_MODEL, Language, check_models, load_encoder, named_language
from saelex.errors import InputError
from saelex.files import expanded
from saelex.top_k import shown

if TYPE_CHECKING:
    from saelex.encoder.encoder import Encoder
    from saelex.evaluation.curves import LatencyPoint, QualityCurve, QualityPoint
    from saelex.evaluation.drawing.plots import Picture
    from saelex.evaluation.encoded import EncodedCollection, JudgedDocuments

app = typer.Typer(help="What each knob costs and brings, as JSON, PNG and SVG.", no_args_is_help=True)

Paths = Annotated[
    list[str], typer.Argument(metavar="COLLECTION[:SPLIT]...", help="Test collections, named as for `saelex evaluate`.")
]
Models = Annotated[
    list[str], typer.Option("--model", "-m", metavar="[NAME=]MODEL", help="As elsewhere; may be repeated to compare.")
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where files go; made if not there.")]
Words = Annotated[bool, typer.Option("--words", help="Count words beside the latents, at the model's own scale.")]
Split = Annotated[str, typer.Option(help="Split of the collections that name none.")]
Measure = Annotated[str, typer.Option(metavar="NAME", help="What pictures show; the JSON has all: nDCG@10, R@100.")]
QueryTopKs = Annotated[
    str, typer.Option("--query-top-k", metavar="K,K", help="Latents kept of a query: 40, 40+80%, all.")
]
DocumentTopKs = Annotated[str, typer.Option("--document-top-k", metavar="K,K", help="Latents kept of a passage.")]

_GRID_QUERY, _GRID_DOCUMENT = "5,10,20,40,80,all", "25,50,100,200,400,all"
_GRID_SHARE = "10+80%,20+80%,40+60%,40+70%,40+80%,40+90%"


@app.command("top-k")
def top_k(
    paths: Paths,
    output: Output,
    models: Models = [DEFAULT_MODEL],  # noqa: B006
    query_top_k: QueryTopKs = _GRID_QUERY,
    document_top_k: DocumentTopKs = _GRID_DOCUMENT,
    words: Words = False,
    language: Language = None,
    split: Split = "test",
    measure: Measure = "nDCG@10",
) -> None:
    """Quality at every Top-K of queries with every one of documents; nothing is encoded again for it."""
    from saelex.evaluation.drawing.curve_plots import top_k_picture

    asked = _Asked(paths, models, output, words, language, split, measure)
    _quality("top-k", asked, query_top_k, document_top_k, top_k_picture)


@app.command()
def pruning(
    paths: Paths,
    output: Output,
    models: Models = [DEFAULT_MODEL],  # noqa: B006
    query_top_k: Annotated[
        str, typer.Option("--query-top-k", metavar="K", help="Latents kept of a query; default: the model's own.")
    ] = "default",
    document_top_k: DocumentTopKs = "400,200,100,50",
    words: Words = False,
    language: Language = None,
    split: Split = "test",
    measure: Measure = "nDCG@10",
) -> None:
    """Quality with documents cut to their heaviest latents, and as a share of that at the first cut."""
    from saelex.evaluation.drawing.curve_plots import pruning_picture

    read_top_k(query_top_k)  # one, not several
    asked = _Asked(paths, models, output, words, language, split, measure)
    _quality("pruning", asked, query_top_k, document_top_k, pruning_picture)


@app.command()
def flops(
    paths: Paths,
    output: Output,
    models: Models = [DEFAULT_MODEL],  # noqa: B006
    query_top_k: QueryTopKs = f"{_GRID_QUERY},{_GRID_SHARE}",
    document_top_k: DocumentTopKs = _GRID_DOCUMENT,
    words: Words = False,
    language: Language = None,
    split: Split = "test",
    measure: Measure = "nDCG@10",
) -> None:
    """Quality against QD-FLOPs: every Top-K, and the lines of those that no cheaper one beats.

    Queries that keep a share of their weight, as in 40+80%, are a line beside those cut to one number of latents.
    """
    from saelex.evaluation.drawing.curve_plots import flops_picture

    asked = _Asked(paths, models, output, words, language, split, measure)
    _quality("flops", asked, query_top_k, document_top_k, flops_picture)


@app.command()
def latency(
    paths: Paths,
    output: Output,
    models: Models = [DEFAULT_MODEL],  # noqa: B006
    depths: Annotated[str, typer.Option("--k", metavar="K,K", help="Recall of the exact top so many.")] = "10,100",
    words: Words = False,
    language: Language = None,
    split: Split = "test",
    queries: Annotated[int, typer.Option(metavar="N", help="Time so many of a collection's queries at most.")] = 1000,
) -> None:
    """Recall of exact search against latency, for the searches `capped` and `two_step` at every knob they have.

    Vectors are cut to the model's own Top-K. One query at a time on one core; each is timed once after a warm-up.
    """
    from saelex.evaluation.curves import recall_latency
    from saelex.evaluation.drawing.curve_plots import latency_picture

    wanted = [_number("--k", text) for text in depths.split(",")]
    asked = _Asked(paths, models, output, words, language, split)

    def points(encoder: Encoder, encoded: EncodedCollection) -> list[LatencyPoint]:
        kept = encoder.settings.query_top_k, encoder.settings.document_top_k
        vectors = encoded.vectors(kept, asked.word_scale(encoder))
        return recall_latency(*vectors, depths=wanted, at_most=queries, progress=True)

    found = asked.measured(points)
    systems = [
        {"system": system, "collections": {name: [point.to_json() for point in line] for name, line in lines.items()}}
        for system, lines in found.items()
    ]
    titles = {
        name if len(found) == 1 else f"{system}, {name}": line
        for system, lines in found.items()
        for name, line in lines.items()
    }
    _print_latencies(titles)
    asked.write("latency", systems, latency_picture(titles))


def _quality(
    name: str, asked: _Asked, query_top_ks: str, document_top_ks: str, picture: Callable[..., Picture]
) -> None:
    """A curve of quality for every model: measured, written, drawn and listed."""
    from saelex.evaluation.curves import QualityCurve, top_k_grid
    from saelex.evaluation.measures import MEASURES

    if asked.measure not in MEASURES:
        raise InputError(f"--measure is one of {', '.join(MEASURES)}, not {asked.measure!r}")
    cuts = [[read_top_k(text.strip()) for text in kept.split(",")] for kept in (query_top_ks, document_top_ks)]

    def points(encoder: Encoder, encoded: EncodedCollection) -> list[QualityPoint]:
        settings = encoder.settings
        kept = [settings.top_k("query", k) for k in cuts[0]], [settings.top_k("document", k) for k in cuts[1]]
        return top_k_grid(encoded, *kept, asked.word_scale(encoder), progress=True)

    curves = [QualityCurve.of(system, lines) for system, lines in asked.measured(points).items()]
    drawn = picture(curves, asked.measure, queries=asked.n_queries)
    _print_quality(curves, asked.measure)
    asked.write(name, [curve.to_json() for curve in curves], drawn)


@dataclass
class _Asked:
    """What all curves are asked for, and the collections and models that were read for them."""

    paths: Sequence[str]
    models: Sequence[str]
    output: Path
    words: bool
    language: str | None
    split: str
    measure: str = ""

    def __post_init__(self) -> None:
        self.output = expanded(self.output)
        if self.language is not None and not self.words:
            raise InputError("--language is of words, which curves leave out; add --words, or drop it")
        self.judged: dict[str, JudgedDocuments] = {}
        self.facts: dict[str, Any] = {}
        self.systems = _systems(self.models)
        check_models(self.systems.values())

    @property
    def n_queries(self) -> int:
        """Of all collections together."""
        return sum(len(one.collection.queries) for one in self.judged.values())

    def word_scale(self, encoder: Encoder) -> float | None:
        return encoder.settings.word_scale if self.words else None

    def measured(self, points: Callable[[Encoder, EncodedCollection], list[Any]]) -> dict[str, dict[str, list[Any]]]:
        """Points by system and collection, from vectors that the cache has or that are encoded once."""
        from saelex.evaluation.drawing.plots import check_matplotlib
        from saelex.evaluation.encoded import EncodedCollection
        from saelex.evaluation.vectors_cache import VectorsCache
        from saelex.training.mining.names import short_names

        check_matplotlib("a curve")
        self._read()
        found: dict[str, dict[str, list[Any]]] = {}
        for system, model in self.systems.items():
            encoder = load_encoder(model)
            self.facts[system] = {
                "model": short_names([model])[0],
                "fingerprint": encoder.fingerprint,
                "word_scale": self.word_scale(encoder),
            }
            found[system] = {}
            for name, judged in self.judged.items():
                encoded = EncodedCollection.encode(encoder, judged, VectorsCache(), progress=True)
                found[system][name] = points(encoder, encoded)
        return found

    def _read(self) -> None:
        from saelex.corpus.opening import named_split, read_collection
        from saelex.evaluation.encoded import JudgedDocuments

        if self.output.exists() and not self.output.is_dir():
            raise InputError(f"{self.output}: a file; --output names a folder")
        spoken = named_language(self.language)
        for path in self.paths:
            collection = read_collection(*named_split(path, self.split))
            if collection.label in self.judged:
                raise InputError(f"{path}: a second collection called {collection.label}; rename its folder")
            self.judged[collection.label] = JudgedDocuments.read(collection, spoken)
        self.output.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, systems: Sequence[dict[str, Any]], picture: Picture) -> None:
        """NAME.json with all points, and the picture beside it."""
        from saelex.evaluation.provenance import provenance
        from saelex.files import write_text

        content = {
            "curve": name,
            **provenance(shlex.join(["saelex", *sys.argv[1:]])),
            "collections": {
                collection: {
                    "queries": len(judged.collection.queries),
                    "documents": len(judged.documents),
                    **({"language": judged.language} if self.words else {}),
                }
                for collection, judged in self.judged.items()
            },
            "systems": [self.facts[system["system"]] | system for system in systems],
        }
        path = self.output / f"{name}.json"
        write_text(path, [json.dumps(content, indent=1) + "\n"])
        for written in (path, *picture.save(self.output)):
            typer.echo(written)


def _print_quality(curves: Sequence[QualityCurve], measure: str) -> None:
    """The pictures' numbers, a point a line."""
    from saelex.cli.tables import new_table, print_table

    table = new_table(["system"], ["query/document", measure, "QD-FLOPs", "active q/d"])
    for curve in curves:
        for top_k, measured in curve.points:
            table.add_row(
                curve.system,
                "/".join(map(shown, top_k)),
                f"{measured.measures[measure]:.4f}",
                f"{measured.qd_flops:.2f}",
                f"{measured.query_active:.0f}/{measured.document_active:.0f}",
            )
    print_table(table)


def _print_latencies(titles: Mapping[str, Sequence[LatencyPoint]]) -> None:
    """The picture's numbers, a point a line."""
    from saelex.cli.tables import new_table, print_table

    table = new_table(["set", "mode", "knob"], ["k", "recall", "p50 ms", "p95 ms", "p99 ms", "postings"])
    for title, points in titles.items():
        for point in points:
            latency = point.latency
            times = (f"{value:.3f}" for value in (latency.p50, latency.p95, latency.p99))
            knob = f"{point.knob}={point.value}" if point.knob else ""
            figures = (str(latency.k), f"{point.recall:.4f}", *times, f"{point.postings:.0f}")
            table.add_row(title, latency.mode, knob, *figures)
    print_table(table)


def _systems(texts: Sequence[str]) -> dict[str, str]:
    """Models by the names given; where none is, by the end of their path, as much as tells them apart."""
    from saelex.training.mining.names import short_names

    named = [_split_name(text) for text in texts]
    short = iter(short_names([model for name, model in named if not name]))
    systems = {name or next(short): model for name, model in named}
    if len(systems) < len(texts):
        raise InputError("--model: two models of one name; name them, as in --model NAME=MODEL")
    return systems


def _split_name(text: str) -> tuple[str, str]:
    """NAME=MODEL, unless that is itself a path."""
    name, separator, model = text.partition("=")
    return (name, model) if separator and not expanded(text).exists() else ("", text)


def _number(option: str, text: str) -> int:
    if text.strip().isdecimal() and int(text):
        return int(text)
    raise InputError(f"{option} takes numbers from 1, not {text!r}")
