"""Systems side by side: concepts alone and with words, beside BM25, the dense MiniLM and their fusion.

    python benchmarks/retrieval_table.py --data FOLDER --in-domain squad-dev:test30 fairytaleqa nl2bash tldr \\
        --out-of-domain cranfield cacm npl covid-qa squadshifts-amazon \\
        --system "label-free=saelex-minilm" --system "SPLADE control=runs/splade-control" --top-k 40/400 \\
        --note "SPLADE control=8,000 steps of 32 x 9" --markdown table.md --json table.json

Search is exact, over the passages and words that an index would have. Vectors are kept whole in a cache: a second run,
another Top-K or scale of words encodes nothing. --word-scales (development splits only: the scale is chosen there) and
--sweep-top-k give a row for each value. Means are over sets, each counting alike.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from report import PACKAGES, table
from saelex.corpus.opening import named_split, read_collection
from saelex.encoder.backbone.packaged import MINILM
from saelex.encoder.dense.embedder import load_embedder
from saelex.encoder.encoder import Encoder
from saelex.encoder.words.languages import DEFAULT_LANGUAGE
from saelex.evaluation.encoded import (
    EncodedCollection,
    JudgedDocuments,
    Measured,
    TopK,
    baseline_measures,
    mean_measured,
)
from saelex.evaluation.measures import MEASURES
from saelex.evaluation.provenance import machine, versions
from saelex.evaluation.vectors_cache import VectorsCache
from saelex.files import write_text
from top_k import cut_name, read_cut

NDCG = "nDCG@10"


class Variant(NamedTuple):
    """How a system's vectors are used: latents kept, and what words count beside them (None: concepts alone)."""

    top_k: TopK
    word_scale: float | None


@dataclass
class Row:
    """One line of the table. sets: what was measured, by set."""

    system: str
    variant: Variant | None = None
    note: str = ""
    fingerprint: str = ""
    sets: dict[str, Measured] = field(default_factory=dict)


class Cell(NamedTuple):
    """A value as shown; measures are compared within their column."""

    text: str
    value: float | None = None


def rows_of(system: str, encoder: Encoder, variants: Sequence[Variant], note: str) -> list[Row]:
    """An empty row for every variant, named by what tells it from the others."""
    rows = []
    several_cuts = len({variant.top_k for variant in variants}) > 1
    several_scales = len({variant.word_scale for variant in variants}) > 2
    for variant in variants:
        name = f"{system} {cut_name(variant.top_k)}" if several_cuts else system
        if variant.word_scale is not None:
            name += " + words" + (f" x{variant.word_scale:g}" if several_scales else "")
        rows.append(Row(name, variant, note, encoder.fingerprint))
    return rows


def measure_system(
    system: str, folder: str, arguments: argparse.Namespace, sets: dict[str, JudgedDocuments], cache: VectorsCache
) -> list[Row]:
    """Rows of one encoder, for every Top-K and scale that was asked for."""
    encoder = Encoder.load(folder)
    scales = arguments.word_scales or [encoder.settings.word_scale]
    cuts = arguments.sweep_top_k or [arguments.top_k]
    variants = [Variant(cut, scale) for cut in cuts for scale in (None, *scales)]
    rows = rows_of(system, encoder, variants, arguments.notes.get(system, ""))
    for name, judged in tqdm(sets.items(), desc=system, unit="set"):
        encoded = EncodedCollection.encode(encoder, judged, cache, progress=True)
        for row, variant in zip(rows, variants):
            row.sets[name] = encoded.measured(variant.top_k, variant.word_scale)
    return rows


def measure_baselines(model: str, sets: dict[str, JudgedDocuments], cache: VectorsCache) -> list[Row]:
    """Rows of BM25, the dense model, and their fusion."""
    embedder = load_embedder(model)
    rows: dict[str, Row] = {}
    for name, judged in tqdm(sets.items(), desc="baselines", unit="set"):
        for system, measured in baseline_measures(judged, embedder, cache, progress=True).items():
            rows.setdefault(system, Row(system)).sets[name] = measured
    return list(rows.values())


# ---- the tables -----------------------------------------------------------------------------------------------------


def means_table(rows: Sequence[Row], groups: dict[str, list[str]]) -> tuple[list[str], list[list[Cell]]]:
    """Means over every group of sets, and cost over all of them."""
    shown = {group: names for group, names in groups.items() if names}
    header = [
        "system",
        *(f"{group} {name}" for group in shown for name in MEASURES),
        "active q/d",
        "QD-FLOPs",
        "budget",
    ]
    body = []
    for row in rows:
        means = [mean_measured([row.sets[name] for name in names]).measures for names in shown.values()]
        cost = mean_measured(list(row.sets.values()))
        active = "" if cost.query_active is None else f"{cost.query_active:.0f}/{cost.document_active:.0f}"
        flops = "" if cost.qd_flops is None else f"{cost.qd_flops:.2f}"
        body.append(
            [Cell(row.system), *measure_cells(mean[name] for mean in means for name in MEASURES),
             Cell(active), Cell(flops), Cell(row.note)]
        )  # fmt: skip
    return header, body


def sets_table(rows: Sequence[Row]) -> tuple[list[str], list[list[Cell]]]:
    """nDCG@10 on every set."""
    names = list(rows[0].sets)
    body = [[Cell(row.system), *measure_cells(row.sets[name].measures[NDCG] for name in names)] for row in rows]
    return [NDCG, *names], body


def measure_cells(values: Iterable[float]) -> list[Cell]:
    return [Cell(f"{value:.3f}", round(value, 3)) for value in values]


def as_text(header: Sequence[str], body: Sequence[Sequence[Cell]]) -> str:
    return table(tuple(header), [tuple(cell.text for cell in line) for line in body])


def as_markdown(header: Sequence[str], body: Sequence[Sequence[Cell]]) -> str:
    """The best of every column of measures in bold; numbers to the right.

    Raises ValueError for a row longer or shorter than the header: a renderer cuts or fills it in silence.
    """
    if uneven := [line[0].text for line in body if len(line) != len(header)]:
        raise ValueError(f"rows of other than {len(header)} cells: {', '.join(uneven)}")
    best = [max((cell.value or 0.0 for cell in column), default=0.0) for column in zip(*body)]
    lines = [list(header), ["---" if i == 0 else "---:" for i in range(len(header))]]
    lines += [[f"**{cell.text}**" if cell.value == most else cell.text for cell, most in zip(line, best)]
              for line in body]  # fmt: skip
    escaped = ((cell.replace("|", r"\|") for cell in line) for line in lines)  # a | within a cell would end it
    return "\n".join("| " + " | ".join(line) + " |" for line in escaped) + "\n"


def as_json(rows: Sequence[Row], groups: dict[str, list[str]]) -> dict[str, Any]:
    """Everything measured, with the means, the machine and the versions."""

    def values(measured: Measured) -> dict[str, Any]:
        return {key: value for key, value in measured._asdict().items() if value is not None}

    content = []
    for row in rows:
        means = {group: mean_measured([row.sets[name] for name in names]) for group, names in groups.items() if names}
        entry = asdict(replace(row, sets={}))
        entry["variant"] = None if row.variant is None else row.variant._asdict()
        entry["means"] = {group: values(mean) for group, mean in means.items()}
        entry["sets"] = {name: values(measured) for name, measured in row.sets.items()}
        content.append(entry)
    about = {"benchmark": "retrieval table", "machine": machine(), "versions": versions((*PACKAGES, "bm25s"))}
    return about | {"groups": groups, "rows": content}


# ---- the command ----------------------------------------------------------------------------------------------------


def read_pair(text: str) -> tuple[str, str]:
    """NAME=VALUE."""
    name, separator, value = text.partition("=")
    if not (name and separator and value):
        raise ValueError(text)
    return name, value


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--data", type=Path, default=Path(), help="folder that the sets lie in")
    add("--in-domain", nargs="+", default=[], metavar="SET[:SPLIT]", help="BEIR folders whose train splits were used")
    add("--out-of-domain", nargs="+", default=[], metavar="SET[:SPLIT]", help="BEIR folders never trained on")
    add("--system", type=read_pair, action="append", default=[], metavar="NAME=MODEL", help="repeatable")
    add("--note", type=read_pair, action="append", default=[], metavar="NAME=TEXT", help="a system's training budget")
    add("--top-k", type=read_cut, default=(40, 400), metavar="QUERY/DOCUMENT", help="latents kept (default 40/400)")
    cuts, scales = (lambda text: list(map(read_cut, text.split(",")))), (lambda text: list(map(float, text.split(","))))
    add("--sweep-top-k", type=cuts, metavar="CUT,CUT", help="a row for each: 20/200,40/400,all/all")
    add("--word-scales", type=scales, metavar="X,X", help="a row for each, instead of the model's own: 1,2,3,4,5,6,8")
    add("--dense", default=MINILM.model_id, metavar="MODEL", help="the dense baseline: a sentence-transformers model")
    add("--language", default=DEFAULT_LANGUAGE, metavar="CODE", help="of words, as for `saelex evaluate`")
    add("--queries", type=int, metavar="N", help="at most so many of each set, drawn at random: for a quick look")
    add("--cache", type=Path, metavar="FOLDER", help="vectors and runs (default: in the user's cache folder)")
    add("--markdown", type=Path, metavar="FILE", help="write the tables for the README")
    add("--json", type=Path, metavar="FILE", help="write all that was measured")
    arguments = parser.parse_args()
    arguments.notes = dict(arguments.note)
    if not (arguments.in_domain or arguments.out_of_domain):
        parser.error("name sets with --in-domain or --out-of-domain")
    if unknown := arguments.notes.keys() - {name for name, _ in arguments.system}:
        parser.error(f"--note of {min(unknown)!r}, which is no --system")
    splits = [named_split(str(arguments.data / one))[1] for one in (*arguments.in_domain, *arguments.out_of_domain)]
    if arguments.word_scales and any(split.startswith("test") for split in splits):
        parser.error("--word-scales chooses a scale, and nothing is chosen on a test split; name development splits")
    return arguments


def read_sets(arguments: argparse.Namespace) -> tuple[dict[str, JudgedDocuments], dict[str, list[str]]]:
    """The sets by name, and the names of either group."""
    sets: dict[str, JudgedDocuments] = {}
    groups: dict[str, list[str]] = {}
    for group, folders in (("in-domain", arguments.in_domain), ("out-of-domain", arguments.out_of_domain)):
        groups[group] = folders
        for folder in folders:
            collection = read_collection(*named_split(str(arguments.data / folder)))
            asked = collection.with_queries(arguments.queries or len(collection.queries))
            sets[folder] = JudgedDocuments.read(asked, arguments.language)
    return sets, groups


def main() -> None:
    arguments = read_arguments()
    sets, groups = read_sets(arguments)
    cache = VectorsCache(arguments.cache)
    rows = measure_baselines(arguments.dense, sets, cache)
    for system, model in arguments.system:
        rows += measure_system(system, model, arguments, sets, cache)
    tables = [means_table(rows, groups), sets_table(rows)]
    print("\n" + "\n\n".join(as_text(*one) for one in tables))
    if arguments.markdown:
        write_text(arguments.markdown, ["\n".join(as_markdown(*one) for one in tables)])
    if arguments.json:
        write_text(arguments.json, [json.dumps(as_json(rows, groups), indent=2) + "\n"])


if __name__ == "__main__":
    main()
