"""The choices behind the embedded default, measured on development splits: latents per token, BM25 over latents, Top-K,
and the scale of words beside them.

    python benchmarks/default_model.py runs/sae-minilm squad-dev:train70 fairytaleqa:dev tldr:dev nl2bash:dev

Each collection is encoded once for every k; everything else is arithmetic on those vectors. BM25 over words stands
beside them. The latents' statistics are counted over all the collections' documents, as the model's own are.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from report import Report
from saelex.corpus.collection import Collection
from saelex.corpus.opening import named_split, read_collection
from saelex.encoder.backbone.packaged import MINILM
from saelex.encoder.encoder import Encoder
from saelex.encoder.settings import EncoderSettings
from saelex.encoder.weighting import LatentWeighting, WeightingSettings
from saelex.encoder.words.channel import LexicalChannel
from saelex.evaluation.encoded import TopK
from saelex.evaluation.exact import exact_run
from saelex.evaluation.measures import measure
from saelex.sae import activations
from saelex.vectors import SparseRows
from top_k import cut_name, read_cut


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
    names = [one.id for one in encoded.collection.queries]
    run = exact_run(names, queries, np.array(encoded.ids, dtype=np.str_), documents)
    return measure(encoded.collection.qrels, run)["nDCG@10"]


def read_weighting(text: str) -> WeightingSettings:
    """K1:B:POWER."""
    k1, b, power = map(float, text.split(":"))
    return WeightingSettings(k1=k1, b=b, idf_power=power)


_WEIGHTINGS = list(map(read_weighting, ["1.2:0.5:1", "0.9:0.5:0.75", "0.9:0.3:0.75", "0.9:0.3:1"]))
_CUTS = list(map(read_cut, ["all/all", "40/400", "64/600", "96/600"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("sae", help="folder of the SAE")
    parser.add_argument("collections", nargs="+", help="BEIR folders, FOLDER:SPLIT")
    parser.add_argument("--queries", type=int, default=800, help="at most so many of each collection, drawn at random")
    parser.add_argument("--backbone", default=MINILM.model_id, help="that the SAE was trained on")
    parser.add_argument("--max-length", type=int, default=256, help="tokens of a query, and of a document")
    parser.add_argument("--k", type=int, nargs="+", default=[6, 8, 16], help="latents per token")
    add = partial(parser.add_argument, nargs="+")
    add(
        "--weighting",
        type=read_weighting,
        default=_WEIGHTINGS,
        metavar="K1:B:POWER",
        help="BM25 over latents",
    )
    add("--top-k", type=read_cut, default=_CUTS, metavar="QUERY/DOCUMENT", help="latents kept")
    add("--word-scales", type=float, default=[0.0, 1.0, 2.0, 3.0, 4.0], help="0: concepts alone")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    arguments = parser.parse_args()
    settings = EncoderSettings(max_query_length=arguments.max_length, max_document_length=arguments.max_length)
    encoder = Encoder.from_sae(arguments.backbone, arguments.sae, saturation="sqrt", settings=settings)
    collections = [
        read_collection(*named_split(name)).with_queries(arguments.queries) for name in arguments.collections
    ]
    report = Report("label-free default")
    for k in arguments.k:
        encoder.head.activation = activations.TopK(k)
        encoded = [encode(encoder, one, progress=True) for one in tqdm(collections, desc=f"k {k}")]
        if k == arguments.k[0]:
            words = [ndcg(one, one.query_words, one.document_words) for one in encoded]
            report.add("bm25", sum(words) / len(words), "nDCG@10")
        statistics = LatentWeighting.fit(one.documents for one in encoded)
        for weights, cut in product(arguments.weighting, arguments.top_k):
            measure_row(report, k, encoded, replace(statistics, settings=weights), cut, arguments.word_scales)
    report.print()
    if arguments.json:
        report.write(arguments.json)


def measure_row(
    report: Report, k: int, encoded: list[Encoded], weighting: LatentWeighting, cut: TopK, scales: Sequence[float]
) -> None:
    """One choice of weighting and Top-K, at every scale of words."""
    weighted = [(weighting.query(one.queries).top_k(cut[0]), weighting.document(one.documents).top_k(cut[1]))
                for one in encoded]  # fmt: skip
    chosen = weighting.settings
    name = f"k={k} k1={chosen.k1} b={chosen.b} idf^{chosen.idf_power} {cut_name(cut)}"
    lengths = (sum(rows[side].lengths.mean() for rows in weighted) / len(weighted) for side in (0, 1))
    note = "active {:.0f}/{:.0f}".format(*lengths)
    for scale in scales:
        results = []
        for one, (queries, documents) in zip(encoded, weighted):
            if scale:
                queries = queries.beside(one.query_words.scale(scale))
                documents = documents.beside(one.document_words)
            results.append(ndcg(one, queries, documents))
        report.add(f"{name} words x{scale:g}", sum(results) / len(results), "nDCG@10", note=note)


if __name__ == "__main__":
    main()
