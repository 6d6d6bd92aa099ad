"""Explanations of what an evaluation found, by the indexes that it searched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from saelex.concepts.explanation import Explanation
from saelex.concepts.labels import Firing, derive_labels
from saelex.evaluation.measures import DEPTH
from saelex.evaluation.report.choices import ReportOptions, choices_of, depth_of_runs
from saelex.evaluation.report.examples import Examples, Explain, gather_examples
from saelex.evaluation.results import Evaluation
from saelex.index.index import Index

if TYPE_CHECKING:
    from saelex.corpus.collection import Collection
    from saelex.evaluation.searching import Searcher
    from saelex.index.hits import Hit

LABELLED_FROM = 1000
"""Passages that labels are derived from: an evaluation keeps no words, so these are encoded anew."""


def indexed_examples(
    evaluation: Evaluation,
    collections: Sequence[Collection],
    searchers: Sequence[Searcher],
    indexes: Path,
    *,
    options: ReportOptions | None = None,
    count: int = 3,
    labelled_from: int = LABELLED_FROM,
) -> Examples | None:
    """Examples for `write_report` out of indexes that `evaluate_collections` left; None where there is no pair.

    collections, searchers, indexes: as they were evaluated. count: gains, and losses, of each collection.
    labelled_from: passages of each collection that latents get their labels from; 0 gives them none.
    """
    choices = choices_of(evaluation, options)
    if choices.pair is None:
        return None
    wanted = [one for one in searchers if one.systems.keys() & set(choices.pair)]
    depth = depth_of_runs(evaluation)
    found = []
    for number, (result, collection) in enumerate(zip(evaluation.collections, collections)):
        with _explaining(wanted, indexes, number, depth, labelled_from) as explain:
            found.append(
                gather_examples(result, collection, choices.measure, choices.pair, explain=explain, count=count)
            )
    return Examples(choices.measure, *choices.pair, found)


def index_reasons(index: Index, words: Mapping[str, bool], depth: int = DEPTH) -> Explain:
    """Explanations by an open index, of what it finds among its first `depth` documents.

    index: opened with the encoder itself; one whose vectors were looked up knows no words at which latents fired.
    words: the systems that are searches of this index -> whether exact words count; others have no reasons.
    """
    last: dict[tuple[str, bool], dict[str, Hit]] = {}  # of one search: a query's documents are asked for in a row

    def explain(system: str, query: str, document: str) -> Explanation | None:
        if system not in words:
            return None
        key = query, words[system]
        if key not in last:
            hits = {hit.id: hit for hit in index.search(query, depth, words=words[system])}
            last.clear()
            last[key] = hits
        hit = last[key].get(document)
        return None if hit is None else hit.explain()

    return explain


def label_from_sample(index: Index, passages: int = LABELLED_FROM) -> int:
    """Label an index's latents from so many of its passages, encoded anew; returns how many latents have a label.

    For an index without token positions, whose own vectors `Index.label` could not read words from. Raises InputError
    without forward rows.
    """
    encoder = index.encoder

    def firings() -> Iterator[Firing]:
        for ids, texts, *_ in index.stored(sample=passages):
            rows = encoder.encode_document(texts)
            for i, (name, text) in enumerate(zip(ids, texts)):
                row, spans = rows[i], encoder.token_spans(text, "document")
                yield Firing(name, text, row.latents, row.weights, row.positions, spans)

    return len(index.write_concepts(derive_labels(firings(), encoder.n_latents, language=index.language)))


@contextmanager
def _explaining(
    searchers: Sequence[Searcher], indexes: Path, number: int, depth: int, labelled_from: int
) -> Iterator[Explain]:
    """What explains the systems of these searchers on the collection of this number, among its `depth` best."""
    from saelex.evaluation.evaluate import index_folder

    reasons: dict[str, Explain] = {}
    with ExitStack() as stack:
        for searcher in searchers:
            index = stack.enter_context(Index.open(index_folder(indexes, number, searcher), searcher.encoder))
            if labelled_from and index.concepts is None:
                label_from_sample(index, labelled_from)
            reasons |= dict.fromkeys(searcher.systems, index_reasons(index, searcher.systems, depth))

        def explain(system: str, query: str, document: str) -> Explanation | None:
            return reasons[system](system, query, document) if system in reasons else None

        yield explain
