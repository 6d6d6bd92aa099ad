"""Every system of a plan on every pair of languages of a set; each language is encoded, indexed and embedded once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from saelex.corpus.collection import Collection
from saelex.corpus.documents import Run
from saelex.encoder.dense.embedder import Embedder
from saelex.encoder.words.languages import AUTO
from saelex.errors import InputError
from saelex.evaluation.encoded import JudgedDocuments
from saelex.evaluation.evaluate import Plan, read_run_of
from saelex.evaluation.languages.latents import (
    DOCUMENTS,
    LatentsByLanguage,
    active_latents,
    latents_by_language,
)
from saelex.evaluation.languages.matrix import (
    Group,
    LanguageEvaluation,
    LanguageMatrix,
    Measures,
    MixedIndex,
    groups_of,
)
from saelex.evaluation.languages.searched import SearchedDocuments
from saelex.evaluation.languages.sets import LanguageSet, Pair
from saelex.evaluation.measures import measure_queries, untied
from saelex.evaluation.searching import Searcher
from saelex.evaluation.significance import compare_systems
from saelex.evaluation.vectors_cache import VectorsCache, digest
from saelex.progress import progress_bar

PLACES = 10
"""Of a mixed index's answers, those that are shared out among the languages."""

_PerQuery = dict[str, dict[str, NDArray[np.float64]]]  # system -> measure -> [queries], in ascending order of ids


def evaluate_languages(
    plan: Plan,
    sets: Sequence[LanguageSet],
    *,
    mixed: bool = False,
    cache: VectorsCache | None = None,
    command: str = "",
    progress: bool = False,
) -> LanguageEvaluation:
    """Every system on every pair of languages of every set, through real indexes, one for each language's documents.

    What `evaluate_plan` gives for each pair as a collection, but for the costs, in a fraction of the time. Words are
    cut by the rules of their language (`LanguageSet.analysers`): of a query those of its own in BM25, and beside
    concepts those of the documents, for an index knows no other. mixed: search one index of all languages' documents
    as well, with words by `auto` where no other language is named. The rest as `evaluate_plan`.

    Raises InputError as `evaluate_plan` does.
    """
    labels = [one.label for one in sets]
    if doubled := [label for label in labels if labels.count(label) > 1]:
        raise InputError(f"two sets are called {doubled[0]}; evaluate them one by one, or rename a folder")
    embedder, kept = plan.embedder(), cache or VectorsCache()
    facts = plan.about(embedder, command) | {
        "language": {one.label: {"bm25": one.analysers, "index": one.index_languages} for one in sets},
        "collections": {},
    }
    matrices = []
    for one in sets:
        documents = {code: JudgedDocuments.read(one.collections[code]) for code in one.document_languages}
        if empty := [code for code, judged in documents.items() if not judged.documents]:
            raise InputError(f"{one.name}: no document of {empty[0]} holds a text; there is nothing to find")
        facts["collections"] |= _facts_of(one, documents)
        matrices.append(_matrix(plan, one, documents, mixed, embedder, kept, progress))
    return LanguageEvaluation(matrices, facts)


def _matrix(
    plan: Plan,
    named: LanguageSet,
    documents: Mapping[str, JudgedDocuments],
    mixed: bool,
    embedder: Embedder | None,
    cache: VectorsCache,
    progress: bool,
) -> LanguageMatrix:
    measured: dict[Pair, _PerQuery] = {}
    with progress_bar(total=len(named.pairs), desc=named.name, unit="pair", shown=progress) as bar:
        for code, judged in documents.items():
            words = named.analysers[code], named.index_languages[code]
            with SearchedDocuments.opened(plan, [judged], words, embedder, cache, progress=progress) as searched:
                for pair in (one for one in named.pairs if one[1] == code):
                    collection = named.collection(pair)
                    runs = searched.answers(collection, named.analysers[pair[0]], progress=progress)
                    runs |= {name: read_run_of(name, file, collection) for name, file in plan.runs.items()}
                    measured[pair] = _measured(plan, collection, {name: runs[name] for name in plan.systems})
                    bar.update(1)
    first = named.collections[named.query_languages[0]]
    return LanguageMatrix(
        named.label,
        len(first.queries),
        {code: len(judged.documents) for code, judged in documents.items()},
        named.index_languages,
        {pair: _means(measured[pair]) for pair in named.pairs},
        _groups(plan, named, measured),
        _latents(plan.searchers, documents, cache),
        _mixed(plan, named, documents, embedder, cache, progress) if mixed else None,
    )


def _measured(plan: Plan, collection: Collection, runs: Mapping[str, Run]) -> _PerQuery:
    ids = sorted(collection.qrels)
    found: _PerQuery = {}
    for name, run in runs.items():
        per_query = measure_queries(collection.qrels, run, plan.measures, depth=plan.depth)
        found[name] = {
            measure: np.fromiter((values[query] for query in ids), np.float64, len(ids))
            for measure, values in per_query.items()
        }
    return found


def _means(measured: _PerQuery) -> Measures:
    return {
        system: {measure: float(values.mean()) for measure, values in of.items()} for system, of in measured.items()
    }


def _groups(plan: Plan, named: LanguageSet, measured: Mapping[Pair, _PerQuery]) -> list[Group]:
    ids = sorted(named.collections[named.query_languages[0]].qrels)
    against = [(name, plan.against) for name in plan.systems if name != plan.against]
    groups = []
    for name, pairs in groups_of(named.pairs).items():
        means: _PerQuery = {
            system: {
                measure: np.mean([measured[pair][system][measure] for pair in pairs], axis=0)
                for measure in plan.measures
            }
            for system in plan.systems
        }
        values = {
            system: {measure: dict(zip(ids, row.tolist())) for measure, row in of.items()}
            for system, of in means.items()
        }
        groups.append(Group(name, pairs, _means(means), compare_systems(values, against)))
    return groups


def _latents(
    searchers: Sequence[Searcher], documents: Mapping[str, JudgedDocuments], cache: VectorsCache
) -> dict[str, LatentsByLanguage]:
    """By the name of each model's first system; nothing where there is no second language, or no common document."""
    shared = sorted(set.intersection(*({one.id for one in judged.documents} for judged in documents.values())))
    if len(documents) < 2 or len(shared) < 2:
        return {}
    step = -(-len(shared) // DOCUMENTS)
    wanted = set(shared[::step])
    found = {}
    for searcher in searchers:
        active = {}
        for code, judged in documents.items():
            borders = judged.borders(searcher.encoder)
            rows = cache.rows(searcher.encoder, judged.passages(borders), "document")
            firsts = np.cumsum([0, *map(len, borders[:-1])], dtype=np.int64)
            chosen = [i for i, one in enumerate(judged.documents) if one.id in wanted]
            active[code] = active_latents(rows.top_k(searcher.encoder.settings.document_top_k), firsts, chosen)
        found[next(iter(searcher.systems))] = latents_by_language(active)
    return found


# ---- one index of all languages -------------------------------------------------------------------------------------


def _mixed(
    plan: Plan,
    named: LanguageSet,
    documents: Mapping[str, JudgedDocuments],
    embedder: Embedder | None,
    cache: VectorsCache,
    progress: bool,
) -> MixedIndex:
    if any(one.ignore_own_ids for one in named.collections.values()):
        raise InputError(f"{named.name}: where a query's own id does not count, languages are not mixed in one index")
    codes = sorted(documents, key=_prefix)  # documents come in ascending order of ids
    parts = [_renamed(documents[code], code) for code in codes]
    measures: dict[str, Measures] = {}
    shares: dict[str, dict[str, dict[str, float]]] = {}
    words = AUTO, named.index_language or AUTO
    with SearchedDocuments.opened(plan, parts, words, embedder, cache, progress=progress) as searched:
        for asked in named.query_languages:
            collection = _everywhere(named.collections[asked], codes)
            runs = searched.answers(collection, progress=progress)
            measures[asked] = _means(_measured(plan, collection, runs))
            for name, run in runs.items():
                shares.setdefault(name, {})[asked] = _shares(run, named.document_languages)
    return MixedIndex(measures, shares, PLACES)


def _renamed(judged: JudgedDocuments, code: str) -> JudgedDocuments:
    return replace(judged, documents=[replace(one, id=_prefix(code) + one.id) for one in judged.documents])


def _everywhere(collection: Collection, codes: Sequence[str]) -> Collection:
    """The queries, to which a relevant document is one in every language."""
    qrels = {
        query: {_prefix(code) + document: grade for code in codes for document, grade in grades.items()}
        for query, grades in collection.qrels.items()
    }
    return replace(collection, qrels=qrels)


def _shares(run: Run, codes: Sequence[str]) -> dict[str, float]:
    """Each language's share of the first `PLACES` places, all queries together."""
    counts = Counter(document.partition("/")[0] for best in untied(run, PLACES).values() for document in best)
    total = max(1, counts.total())
    return {code: counts[code] / total for code in codes}


def _prefix(code: str) -> str:
    return f"{code}/"


def _facts_of(named: LanguageSet, documents: Mapping[str, JudgedDocuments]) -> dict[str, dict[str, str]]:
    """By language: where it was read from, and the sha256 of its queries and judgements, and of its documents."""
    found = {}
    for code, collection in named.collections.items():
        queries = digest(collection.qrels, (text for one in collection.queries for text in (one.id, one.text)))
        found[f"{named.label} {code}"] = {"source": collection.source, "queries_sha256": queries}
        if code in documents:
            texts = (text for one in documents[code].documents for text in (one.id, one.content))
            found[f"{named.label} {code}"]["documents_sha256"] = digest([], texts)
    return found
