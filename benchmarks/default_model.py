"""The choices behind the embedded default, measured on development splits: latents per token, BM25 over latents, Top-K,
and the scale of words beside them.

    python benchmarks/default_model.py runs/sae-minilm squad-dev:train70 fairytaleqa:dev tldr:dev nl2bash:dev

Each collection is encoded once for every k; everything else is arithmetic on those vectors. BM25 over words stands
beside them. The latents' statistics are counted over all the collections' documents, as the model's own are.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from report import Report
from saelex.corpus.collection import Collection
from saelex.corpus.opening import named_split, read_collection
from saelex.encoder.encoder import Encoder
from saelex.encoder.settings import EncoderSettings
from saelex.encoder.weighting import LatentWeighting, WeightingSettings
from saelex.encoder.words.channel import LexicalChannel
from saelex.evaluation.measures import DEPTH, measure
from saelex.sae.activations import TopK
from saelex.vectors import SparseRows

PER_TOKEN = (6, 8, 16)
WEIGHTINGS = [WeightingSettings(k1=k1, b=b, idf_power=power)
              for k1, b, power in ((1.2, 0.5, 1.0), (0.9, 0.5, 0.75), (0.9, 0.3, 0.75), (0.9, 0.3, 1.0))]  # fmt: skip
CUTS: list[tuple[int | None, int | None]] = [(None, None), (40, 400), (64, 600), (96, 600)]
SCALES = (0.0, 1.0, 2.0, 3.0, 4.0)


class Encoded(NamedTuple):
    """A collection with its raw pooled activations and its words."""

    collection: Collection
    ids: list[str]
    queries: SparseRows
    documents: SparseRows
    query_words: SparseRows
    document_words: SparseRows


def encode(encoder: Encoder, collection: Collection, progress: bool) -> Encoded:
    """Pooled activations, without weighting or Top-K, and BM25 over words."""
    documents = sorted((one for one in collection.documents() if one.content), key=lambda one: one.id)
    texts = [one.content for one in documents]
    channel = LexicalChannel().fit(texts)
    questions = [one.text for one in collection.queries]
    return Encoded(
        collection,
        [one.id for one in documents],
        encoder.encode_query(questions, top_k=None),
        encoder.encode_document(texts, top_k=None, progress=progress),
        channel.query(questions),
        channel.document(texts),
    )


def ndcg(encoded: Encoded, queries: SparseRows, documents: SparseRows) -> float:
    """nDCG@10 of an exact search."""
    run: dict[str, dict[str, float]] = {}
    for start in range(0, len(queries), 256):
        scores = queries[start : start + 256].dot(documents)
        best = (-scores).argsort(axis=1, kind="stable")[:, :DEPTH]
        for query, row, order in zip(encoded.collection.queries[start : start + 256], scores, best):
            run[query.id] = {encoded.ids[i]: float(row[i]) for i in order if row[i] > 0}
    return measure(encoded.collection.qrels, run)["nDCG@10"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("sae", help="folder of the SAE")
    parser.add_argument("collections", nargs="+", help="BEIR folders, FOLDER:SPLIT")
    parser.add_argument("--queries", type=int, default=800, help="at most so many of each collection, drawn at random")
    parser.add_argument("--k", type=int, nargs="+", default=PER_TOKEN, help="latents per token")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    arguments = parser.parse_args()
    settings = EncoderSettings(max_query_length=256, max_document_length=256)
    encoder = Encoder.from_sae(
        "sentence-transformers/all-MiniLM-L6-v2", arguments.sae, saturation="sqrt", settings=settings
    )
    collections = [sampled(read_collection(*named_split(name)), arguments.queries) for name in arguments.collections]
    report = Report("label-free default")
    for k in arguments.k:
        encoder.head.activation = TopK(k)
        encoded = [encode(encoder, one, progress=True) for one in tqdm(collections, desc=f"k {k}")]
        if k == arguments.k[0]:
            words = [ndcg(one, one.query_words, one.document_words) for one in encoded]
            report.add("bm25", sum(words) / len(words), "nDCG@10")
        statistics = LatentWeighting.fit(one.documents for one in encoded)
        for weights, cut in product(WEIGHTINGS, CUTS):
            measure_row(report, k, encoded, replace(statistics, settings=weights), cut)
    report.print()
    if arguments.json:
        report.write(arguments.json)


def measure_row(
    report: Report, k: int, encoded: list[Encoded], weighting: LatentWeighting, cut: tuple[int | None, int | None]
) -> None:
    """One choice of weighting and Top-K, at every scale of words."""
    weighted = [(weighting.query(one.queries).top_k(cut[0]), weighting.document(one.documents).top_k(cut[1]))
                for one in encoded]  # fmt: skip
    chosen = weighting.settings
    name = f"k={k} k1={chosen.k1} b={chosen.b} idf^{chosen.idf_power} {cut[0] or 'all'}/{cut[1] or 'all'}"
    lengths = (sum(rows[side].lengths.mean() for rows in weighted) / len(weighted) for side in (0, 1))
    note = "active {:.0f}/{:.0f}".format(*lengths)
    for scale in SCALES:
        results = []
        for one, (queries, documents) in zip(encoded, weighted):
            if scale:
                queries = queries.beside(one.query_words.scale(scale))
                documents = documents.beside(one.document_words)
            results.append(ndcg(one, queries, documents))
        report.add(f"{name} words x{scale:g}", sum(results) / len(results), "nDCG@10", note=note)


def sampled(collection: Collection, most: int) -> Collection:
    """The collection with at most so many of its queries."""
    if len(collection.queries) <= most:
        return collection
    kept = random.Random(0).sample(collection.queries, most)
    return replace(collection, queries=kept, qrels={one.id: collection.qrels[one.id] for one in kept})


if __name__ == "__main__":
    main()
