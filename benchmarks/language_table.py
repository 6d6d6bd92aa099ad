"""Systems side by side over languages: concepts alone and with words, beside BM25, the dense model and their fusion.

    python benchmarks/language_table.py --data FOLDER --set xquad \\
        --chosen de es ru zh --reported ar el hi ro th tr vi \\
        --monolingual arcd=ar cmrc2018=zh drcd=zh jaquad=ja squad-it=it tquad=tr \\
        --system "multilingual=saelex-multilingual" --system "label-free=runs/label-free" --top-k 40/400 \\
        --markdown table.md --json table.json

Of the set, every language is asked in itself, English over it, and it over English: what the README's table needs,
and not the square of all pairs, which `saelex evaluate --languages` has. Search is through real indexes, with words of
the documents' language. The dense baseline is that of the last system's backbone. Means are over languages, each
counting alike; a model's settings are chosen on the first group, and reported on the second.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from report import PACKAGES
from retrieval_table import NDCG, Cell, as_markdown, as_text, measure_cells, read_pair
from saelex.corpus.opening import named_split, read_collection
from saelex.encoder.encoder import Encoder
from saelex.evaluation.evaluate import BASELINES, Plan
from saelex.evaluation.languages.evaluate import evaluate_languages
from saelex.evaluation.languages.matrix import PIVOT, LanguageEvaluation, LanguageMatrix
from saelex.evaluation.languages.sets import LanguageSet, Pair, analyser_of
from saelex.evaluation.measures import read_measures
from saelex.evaluation.provenance import machine, versions
from saelex.evaluation.searching import Searcher
from saelex.evaluation.vectors_cache import VectorsCache
from saelex.files import write_text
from top_k import read_cut

Body = tuple[list[str], list[list[Cell]]]


class Direction(NamedTuple):
    """How a language is paired: asked in itself, over English, or English over it."""

    name: str
    into: bool
    out: bool

    def pair(self, code: str) -> Pair:
        return (PIVOT if self.out else code), (PIVOT if self.into else code)


DIRECTIONS = (
    Direction("in language", False, False),
    Direction(f"-> {PIVOT}", True, False),
    Direction(f"{PIVOT} ->", False, True),
)


def read_sets(arguments: argparse.Namespace) -> list[LanguageSet]:
    """The set in its languages, if one is named, and the sets of one language."""
    sets = []
    codes = [*arguments.chosen, *arguments.reported]
    if arguments.set:
        every = ",".join([PIVOT, *codes])
        read = LanguageSet.read(str(arguments.data / arguments.set), every, index_language=arguments.language)
        pairs = [(PIVOT, PIVOT), *(direction.pair(code) for direction in DIRECTIONS for code in codes)]
        sets.append(replace(read, pairs=pairs))
    for name, code in arguments.monolingual:
        collection = read_collection(*named_split(str(arguments.data / name)))
        analyser = {code: analyser_of(code)}
        sets.append(LanguageSet(name, {code: collection}, [(code, code)], analyser, arguments.language))
    return sets


def plan_of(arguments: argparse.Namespace) -> Plan:
    """The baselines and every system, at the Top-K asked for."""
    searchers = []
    for name, folder in arguments.system:
        encoder = Encoder.load(folder)
        if arguments.top_k:
            query, document = arguments.top_k
            encoder.settings = replace(encoder.settings, query_top_k=query, document_top_k=document)
        searchers.append(Searcher(encoder, name))
    return Plan(list(BASELINES), searchers, {}, read_measures([]), reference="dense")


# ---- the tables -----------------------------------------------------------------------------------------------------


def means_table(matrix: LanguageMatrix, systems: Sequence[str], groups: dict[str, list[str]]) -> Body:
    """nDCG@10 as means over every group of languages, in every direction and across both."""
    shown = {group: codes for group, codes in groups.items() if codes}
    columns: dict[str, list[Pair]] = {PIVOT: [(PIVOT, PIVOT)]}
    for group, codes in shown.items():
        within, *across = DIRECTIONS
        columns[f"{group} {within.name}"] = [within.pair(code) for code in codes]
        for direction in across:
            columns[f"{group} {direction.name}"] = [direction.pair(code) for code in codes]
        columns[f"{group} across"] = [direction.pair(code) for direction in across for code in codes]
    body = []
    for system in systems:
        values = matrix.values(system, NDCG)
        body.append([Cell(system), *measure_cells(fmean(values[pair] for pair in pairs) for pairs in columns.values())])
    return [NDCG, *columns], body


def direction_table(matrix: LanguageMatrix, systems: Sequence[str], codes: Sequence[str], direction: Direction) -> Body:
    """nDCG@10 of every language in one direction."""
    body = []
    for system in systems:
        values = matrix.values(system, NDCG)
        body.append([Cell(system), *measure_cells(values[direction.pair(code)] for code in codes)])
    return [f"{NDCG} {direction.name}", *codes], body


def sets_table(matrices: Sequence[LanguageMatrix], systems: Sequence[str]) -> Body:
    """nDCG@10 on the sets of one language, and their mean."""
    body = []
    for system in systems:
        values = [next(iter(one.values(system, NDCG).values())) for one in matrices]
        body.append([Cell(system), *measure_cells([*values, fmean(values)])])
    named = (f"{one.name} ({next(iter(one.words))})" for one in matrices)
    return [f"{NDCG} in language", *named, "mean"], body


def tables_of(found: LanguageEvaluation, groups: dict[str, list[str]], parallel: bool) -> list[Body]:
    """All tables. parallel: the first set is the one of several languages."""
    systems, matrices = found.systems, list(found.matrices)
    tables = []
    if parallel:
        matrix = matrices.pop(0)
        codes = [code for group in groups.values() for code in group]
        tables.append(means_table(matrix, systems, groups))
        tables += [direction_table(matrix, systems, codes, direction) for direction in DIRECTIONS]
    if matrices:
        tables.append(sets_table(matrices, systems))
    return tables


# ---- the command ----------------------------------------------------------------------------------------------------


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--data", type=Path, default=Path(), help="folder that the sets lie in")
    add("--set", metavar="SET[:SPLIT]", help="one with a sub-folder for each language, English among them")
    add("--chosen", nargs="+", default=[], metavar="CODE", help="languages that settings are chosen on")
    add("--reported", nargs="+", default=[], metavar="CODE", help="languages that nothing was chosen on")
    add("--monolingual", nargs="+", type=read_pair, default=[], metavar="SET[:SPLIT]=CODE", help="sets of one language")
    add("--system", type=read_pair, action="append", required=True, metavar="NAME=MODEL", help="repeatable")
    add("--top-k", type=read_cut, metavar="QUERY/DOCUMENT", help="latents kept (default: each model's own)")
    add("--language", metavar="CODE", help="of words beside concepts (default: the documents'); auto: told per text")
    add("--cache", type=Path, metavar="FOLDER", help="vectors and embeddings (default: in the user's cache folder)")
    add("--markdown", type=Path, metavar="FILE", help="write the tables for the README")
    add("--json", type=Path, metavar="FILE", help="write all that was measured")
    arguments = parser.parse_args()
    if bool(arguments.set) != bool(arguments.chosen or arguments.reported):
        parser.error("--set and its languages, --chosen or --reported, go together")
    if not (arguments.set or arguments.monolingual):
        parser.error("name a set with --set or --monolingual")
    return arguments


def main() -> None:
    arguments = read_arguments()
    groups = {"chosen": arguments.chosen, "reported": arguments.reported}
    found = evaluate_languages(
        plan_of(arguments), read_sets(arguments), cache=VectorsCache(arguments.cache), progress=True
    )
    tables = tables_of(found, groups, bool(arguments.set))
    print("\n" + "\n\n".join(as_text(*one) for one in tables))
    if arguments.markdown:
        write_text(arguments.markdown, ["\n".join(as_markdown(*one) for one in tables)])
    if arguments.json:
        about = {"benchmark": "language table", "machine": machine(), "versions": versions((*PACKAGES, "bm25s"))}
        write_text(arguments.json, [json.dumps(about | {"groups": groups} | found.to_json(), indent=2) + "\n"])


if __name__ == "__main__":
    main()
