"""Systems on test collections: an encoder through a real index, beside baselines, other models and run files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from saelex.corpus.collection import Collection
from saelex.corpus.documents import Run
from saelex.encoder.dense.embedder import Embedder
from saelex.encoder.encoder import Encoder
from saelex.encoder.words.languages import DEFAULT_LANGUAGE, check_language
from saelex.errors import InputError
from saelex.evaluation.baselines import BM25_B, BM25_K1, dense_of
from saelex.evaluation.encoded import BM25, DENSE, FUSION, JudgedDocuments, baseline_runs, bm25_alone
from saelex.evaluation.fusion import RRF_K
from saelex.evaluation.measures import depth_of, means_of, measure_queries, read_measures, untied
from saelex.evaluation.provenance import provenance
from saelex.evaluation.results import CollectionResult, Evaluation, SystemResult
from saelex.evaluation.searching import Found, Searcher
from saelex.evaluation.significance import compare_systems
from saelex.evaluation.vectors_cache import VectorsCache, digest
from saelex.training.mining.names import short_names

BASELINES = {"bm25": BM25, "dense": DENSE, "rrf": FUSION}
"""What `against` may name -> how `comparison` calls it: BM25, the backbone's own embedding, and the fusion of both."""


@dataclass(frozen=True)
class Plan:
    """What is to be evaluated; `of` explains. searchers: encoders, the one that all is about last.

    Raises InputError for names that are unknown or come twice, and for an unknown language.
    """

    baselines: list[str]
    searchers: list[Searcher]
    runs: Mapping[str, str]
    measures: Mapping[str, Any]
    reference: str | None = None
    language: str = DEFAULT_LANGUAGE

    def __post_init__(self) -> None:
        check_language(self.language)
        for name in self.baselines:
            if name not in BASELINES:
                raise InputError(f"unknown baseline {name!r}; choose one of {', '.join(BASELINES)}")
        doubled = [name for name in self.systems if self.systems.count(name) > 1]
        if doubled:
            raise InputError(f"two systems are called {doubled[0]!r}; give each a name of its own")
        if self.reference is not None and self.reference not in self.systems:
            raise InputError(f"no system {self.reference!r} to compare with; there are {', '.join(self.systems)}")

    @classmethod
    def of(
        cls,
        encoder: Encoder,
        *,
        against: Sequence[str | Encoder] = (),
        runs: Mapping[str, str | Path] | None = None,
        measures: Iterable[str] = (),
        reference: str | None = None,
        language: str = DEFAULT_LANGUAGE,
    ) -> Plan:
        """An encoder and what it is compared with.

        against: baselines by name ("bm25"; "dense": the embedding of the encoder's own backbone; "rrf": the fusion of
            both), and other encoders, which are searched as this one is, all at the Top-K of their settings.
        runs: name -> TREC run file of another system; "{set}" in it stands for the collection's name.
        measures: names of ir_measures; nDCG@10, MRR@10 and R@100 unless given.
        reference: the system that all others are compared with; None: the first of `against`, or else of `runs`, or
            else concepts alone.
        language: of exact words, beside concepts and in BM25: as in `LexicalSettings`.

        Raises InputError for names that are unknown or come twice, and for an unknown language.
        """
        others = [one for one in against if isinstance(one, Encoder)]
        labels = short_names([one.name for one in others])
        if reference is None and against:
            first = against[0]
            reference = first if isinstance(first, str) else labels[0]
        return cls(
            [name for name in against if isinstance(name, str)],
            [*map(Searcher, others, labels), Searcher(encoder)],
            {name: str(file) for name, file in (runs or {}).items()},
            read_measures(measures),
            reference,
            language,
        )

    @property
    def systems(self) -> list[str]:
        """Names in the order of tables: baselines, other models, run files, and the model that is evaluated."""
        *others, own = self.searchers
        of_models = [name for searcher in others for name in searcher.systems]
        return [*self.baselines, *of_models, *self.runs, *own.systems]

    @property
    def against(self) -> str:
        """The reference."""
        return self.reference or self.systems[0]

    @property
    def depth(self) -> int:
        """Documents per query that are measured."""
        return depth_of(self.measures)

    def embedder(self) -> Embedder | None:
        """What embeds for the baselines; None where none of them needs it.

        Raises InputError for a backbone without a sentence embedding.
        """
        dense = any(BASELINES[name] != BM25 for name in self.baselines)
        return dense_of(self.searchers[-1].encoder.backbone) if dense else None

    def about(self, embedder: Embedder | None, command: str = "") -> dict[str, Any]:
        """What is needed to repeat it but the collections, as JSON values. command: what was typed."""
        return {
            **provenance(command),
            "measures": list(self.measures),
            "reference": self.against,
            "depth": self.depth,
            "language": self.language,
            "systems": self.facts(embedder),
        }

    def facts(self, embedder: Embedder | None) -> dict[str, dict[str, Any]]:
        """System -> what decides its run, as JSON values; models by the end of their path.

        embedder: of the dense baseline, where there is one.
        """
        found: dict[str, dict[str, Any]] = {}
        for name in self.baselines:
            found[name] = {"kind": "baseline"}
            if name != "dense":
                found[name] |= {"k1": BM25_K1, "b": BM25_B}
            if name != "bm25" and embedder is not None:
                found[name]["model"] = embedder.name
            if name == "rrf":
                found[name]["k"] = RRF_K
        for searcher in self.searchers:
            found |= searcher.facts()
        found |= {name: {"kind": "run", "file": Path(file).name} for name, file in self.runs.items()}
        return {name: found[name] for name in self.systems}


def evaluate_collections(
    collections: Iterable[Collection],
    encoder: Encoder,
    *,
    against: Sequence[str | Encoder] = (),
    runs: Mapping[str, str | Path] | None = None,
    measures: Iterable[str] = (),
    reference: str | None = None,
    language: str = DEFAULT_LANGUAGE,
    cache: VectorsCache | None = None,
    command: str = "",
    progress: bool = False,
) -> Evaluation:
    """Every system on every collection: `Plan.of` what is named here, and `evaluate_plan`."""
    plan = Plan.of(encoder, against=against, runs=runs, measures=measures, reference=reference, language=language)
    return evaluate_plan(plan, collections, cache=cache, command=command, progress=progress)


def evaluate_plan(
    plan: Plan,
    collections: Iterable[Collection],
    *,
    cache: VectorsCache | None = None,
    indexes: Path | None = None,
    command: str = "",
    progress: bool = False,
) -> Evaluation:
    """Every system on every collection: per query, as means, tested against one of them, with what it costs.

    cache: of vectors and runs; None is the user's own. indexes: a folder in which the indexes stay, at `index_folder`;
    None: none stays. command: what was typed, for the facts.

    Raises InputError for a backbone without a sentence embedding where one is wanted, for files that cannot be read,
    for two collections of one name and split, and for a collection without documents.
    """
    listed = list(collections)
    labels = [one.label for one in listed]
    doubled = [label for label in labels if labels.count(label) > 1]
    if doubled:
        raise InputError(f"two collections are called {doubled[0]}; evaluate them one by one, or rename a folder")
    depth, embedder = plan.depth, plan.embedder()
    facts = plan.about(embedder, command) | {"collections": {}}
    kept = cache or VectorsCache()
    results: list[CollectionResult] = []
    for number, collection in enumerate(listed):
        judged = JudgedDocuments.read(collection, plan.language)
        if not judged.documents:
            raise InputError(f"{collection.name}: no document holds a text; there is nothing to find")
        facts["collections"][collection.label] = _facts_of(judged)
        found = _baselines(plan.baselines, judged, embedder, kept, depth, progress)
        found |= {name: Found(read_run_of(name, file, collection)) for name, file in plan.runs.items()}
        for searcher in plan.searchers:
            folder = None if indexes is None else index_folder(indexes, number, searcher)
            found |= searcher.search(judged, kept, depth=judged.searched(depth), folder=folder, progress=progress)
        results.append(_measured(plan, judged, {name: found[name] for name in plan.systems}, depth))
    return Evaluation(results, facts)


def index_folder(indexes: Path, number: int, searcher: Searcher) -> Path:
    """Where the index of an encoder over the collection of this number, from 0, stays."""
    return indexes / str(number) / f"model-{quote(searcher.label, safe='')}"


def _facts_of(judged: JudgedDocuments) -> dict[str, str]:
    """Where a collection was read from, and the sha256 of its ids, texts and judgements."""
    collection = judged.collection
    counted = [len(collection.queries), len(judged.documents), collection.qrels]
    facts = {"source": collection.source, "sha256": digest(counted, judged.all_texts())}
    return facts | ({"own_ids": "left out of what is found"} if collection.ignore_own_ids else {})


def _baselines(
    names: Sequence[str],
    judged: JudgedDocuments,
    embedder: Embedder | None,
    cache: VectorsCache,
    depth: int,
    progress: bool,
) -> dict[str, Found]:
    if embedder is None:
        return {name: Found(bm25_alone(judged, cache, depth=depth)) for name in names}
    runs = baseline_runs(judged, embedder, cache, depth=depth, progress=progress)
    return {name: Found(runs[BASELINES[name]]) for name in names}


def read_run_of(name: str, file: str, collection: Collection) -> Run:
    """A run of this collection, whose name stands for "{set}" in the file's.

    Raises InputError where it answers none of its queries.
    """
    from saelex.corpus.trec.runs import read_run

    path = file.replace("{set}", collection.name)
    run = read_run(path)
    if not run.keys() & collection.qrels.keys():
        raise InputError(f"{path}: the run {name} answers no query of {collection.name}; name a run of that collection")
    return run


def _measured(plan: Plan, judged: JudgedDocuments, found: Mapping[str, Found], depth: int) -> CollectionResult:
    collection = judged.collection
    systems: list[SystemResult] = []
    for name, (run, costs) in found.items():
        ranked = untied(judged.answers(run), depth)
        per_query = measure_queries(collection.qrels, ranked, plan.measures, depth=depth)
        systems.append(SystemResult(name, ranked, per_query, means_of(per_query), costs))
    pairs = [(name, plan.against) for name in found if name != plan.against]
    return CollectionResult(
        collection.name,
        collection.split,
        len(collection.queries),
        len(judged.documents),
        systems,
        compare_systems({one.system: one.per_query for one in systems}, pairs),
    )
