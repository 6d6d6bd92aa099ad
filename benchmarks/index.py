"""The index against its alternatives: build time, size on disk, latency, recall, postings touched.

    python benchmarks/index.py --documents 200000 1000000 --json index.json
    python benchmarks/index.py --documents 200000 --collections cranfield squad-dev:test30

Synthetic vectors by default (benchmarks/synthetic.py); with --collections also the default model's own vectors of those
BEIR folders, repeated with noise to the first size. One process, one query at a time, so one core.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import synthetic
from index_engines import SEISMIC_DOCUMENTS, Search, bare_scorer, installed, qdrant, scipy_columns, seismic
from report import Report, table
from saelex.index.inverted import InvertedIndex
from saelex.vectors import SparseRows

K = 10
CHUNK = 50_000
SCIPY_MOST = 200_000  # documents; beyond, its copy of the matrix would not fit beside ours
SCIPY_QUERIES = 100
Documents = Callable[[], Iterator[SparseRows]]
GOALS_200K = {"build_s": 60, "disk_mib": 500, "disk_forward_mib": 1000, "exact_speedup_qdrant": 3}
GOALS_1M = {"exact_p50_ms_1m": 3.0, "capped_p50_ms_1m": 1.5, "capped_recall10_1m": 0.99}


@dataclass(frozen=True)
class Measured:
    """One way to search, over all queries."""

    name: str
    milliseconds: NDArray[np.float64]
    found: list[NDArray[np.int64]]
    postings: float | None = None  # a query, mean

    def quantile(self, percent: float) -> float:
        return float(np.percentile(self.milliseconds, percent))

    def recall(self, truth: Measured) -> float:
        pairs = list(zip(self.found, truth.found))
        return float(np.mean([len(np.intersect1d(mine, theirs)) / max(1, len(theirs)) for mine, theirs in pairs]))

    def row(self, truth: Measured) -> tuple[Any, ...]:
        postings = "" if self.postings is None else round(self.postings)
        return self.name, self.quantile(50), self.quantile(99), self.recall(truth), postings


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--documents", type=int, nargs="+", default=[200_000, 1_000_000], help="synthetic collections of these sizes"
    )
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument(
        "--collections", nargs="+", default=[], help="BEIR folders, FOLDER or FOLDER:SPLIT, for the model's vectors"
    )
    parser.add_argument("--model", default="saelex-minilm", help="what encodes the collections")
    parser.add_argument("--bits", type=int, choices=(8, 16), default=16, help="bits of a stored weight")
    parser.add_argument("--folder", type=Path, help="where indexes are built; a temporary folder by default")
    parser.add_argument("--without", nargs="*", default=[], choices=("qdrant", "seismic", "scipy", "bare"))
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()

    report = Report("benchmarks/index.py", packages=("qdrant-edge-py", "pyseismic-lsr"))
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="saelex-benchmark-") as folder:
        for size in options.documents:
            queries = synthetic.queries(options.queries, size)

            def documents(size: int = size) -> Iterator[SparseRows]:
                return synthetic.documents(size, chunk=CHUNK)

            compare(f"synthetic, {size:,} documents", size, documents, queries, Path(folder), options, report)
        if options.collections:
            size = options.documents[0]
            rows, queries = encode(options.collections, options.model, options.queries)

            def repeated() -> Iterator[SparseRows]:
                return repeat_with_noise(rows, size)

            name = f"{options.model}'s vectors of {len(options.collections)} collections, {size:,} documents"
            compare(name, size, repeated, queries, Path(folder), options, report, own_vectors=True)
    report.print()
    if options.json:
        report.write(options.json)


def compare(
    title: str,
    size: int,
    documents: Documents,
    queries: SparseRows,
    folder: Path,
    options: argparse.Namespace,
    report: Report,
    own_vectors: bool = False,
) -> None:
    """Builds our index and every alternative over one collection, prints a table and adds the figures."""
    print(f"\n{title}")
    suffix = "_model" if own_vectors else {200_000: "", 1_000_000: "_1m"}.get(size, f"_{size}")
    path = folder / f"index{suffix}"
    seconds, frequencies = build(path, documents, queries.n_latents, options.bits)
    add_sizes(report, suffix, seconds, path)
    print(f"non-zeros per document {frequencies.sum() / size:.1f}, per query {queries.n_nonzero / len(queries):.1f}")
    print("latents by document frequency: " + ", ".join(f"{k}: {n}" for k, n in synthetic.histogram(frequencies, size)))

    with InvertedIndex.open(path) as index:
        exact = time_index(index, queries, "exact")
        measured = [exact, *(time_index(index, queries, mode) for mode in ("capped", "two_step"))]
        if "scipy" not in options.without and size <= SCIPY_MOST:
            measured.append(check_against_scipy(index, documents, queries, exact))
        if "bare" not in options.without:
            measured.append(time_search("bare numba", bare(documents, queries.n_latents, size), queries))
        measured += others(documents, queries, size, folder, options.without)

    print(table(("way", "p50 ms", "p99 ms", f"recall@{K}", "postings/query"), [way.row(exact) for way in measured]))
    add_latencies(report, "_model" if own_vectors else {200_000: "_200k"}.get(size, suffix), exact, measured)
    shutil.rmtree(path)


def build(path: Path, documents: Documents, n_latents: int, bits: int) -> tuple[float, NDArray[np.int64]]:
    """Seconds to build the index with forward rows (making the vectors is not counted), and document frequencies."""
    seconds, number, frequencies = 0.0, 0, np.zeros(n_latents, np.int64)
    index = InvertedIndex.create(path, n_latents, bits=bits)
    for chunk in documents():
        ids = [str(row) for row in range(number, number + len(chunk))]
        number += len(chunk)
        frequencies += np.bincount(chunk.latents, minlength=n_latents)
        start = time.perf_counter()
        index.add(ids, chunk)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    index.merge()
    index.close()
    return seconds + time.perf_counter() - start, frequencies


def add_sizes(report: Report, suffix: str, seconds: float, path: Path) -> None:
    """Build time and size; the size without forward rows is what such an index would not have, taken away."""
    files = {file: file.stat().st_size / 2**20 for file in path.rglob("*") if file.is_file()}
    whole = sum(files.values())
    pruned = sum(size for file, size in files.items() if file.name.startswith(("forward", "capped", "first_step")))
    goals = GOALS_200K if not suffix else {}
    report.add(f"build_s{suffix}", seconds, "s", goals.get("build_s"), "with forward rows, merged")
    report.add(f"disk_mib{suffix}", whole - pruned, "MiB", goals.get("disk_mib"), "postings and catalogue")
    report.add(f"disk_forward_mib{suffix}", whole, "MiB", goals.get("disk_forward_mib"), "everything")


def add_latencies(report: Report, suffix: str, exact: Measured, measured: Sequence[Measured]) -> None:
    named = {way.name: way for way in measured}
    for way in measured:
        name = way.name.replace(" ", "_")
        metric = f"{name}_p50_ms{suffix}"
        note = "" if way.postings is None else f"{way.postings:.0f} postings a query"
        report.add(metric, way.quantile(50), "ms", GOALS_1M.get(metric), note)
        if way.name in ("capped", "two_step"):
            metric = f"{name}_recall10{suffix}"
            report.add(metric, way.recall(exact), "", GOALS_1M.get(metric))
    report.add(f"postings_per_query{suffix}", round(exact.postings or 0), "postings", None, "exact")
    if "qdrant" in named:
        ratio = named["qdrant"].quantile(50) / exact.quantile(50)
        first = suffix == "_200k"
        metric = "exact_speedup_qdrant" + ("" if first else suffix)
        report.add(metric, ratio, "times", GOALS_200K["exact_speedup_qdrant"] if first else None, "p50 by p50")


def time_index(index: InvertedIndex, queries: SparseRows, mode: Any) -> Measured:
    """The public way: float queries in, ids and float scores out."""
    for i in range(min(20, len(queries))):
        index.search(queries[i : i + 1], K, mode)
    milliseconds, found, postings = np.empty(len(queries)), [], 0
    for i in range(len(queries)):
        query = queries[i : i + 1]
        start = time.perf_counter()
        hits = index.search(query, K, mode)
        milliseconds[i] = 1e3 * (time.perf_counter() - start)
        found.append(np.array(hits.ids[0], np.int64))
        postings += hits.postings[0]
    return Measured(mode, milliseconds, found, postings / len(queries))


def time_search(name: str, search: Search, queries: SparseRows) -> Measured:
    for latents, weights in queries[:20]:
        search(latents, weights, K)
    milliseconds, found = np.empty(len(queries)), []
    for i, (latents, weights) in enumerate(queries):
        start = time.perf_counter()
        found.append(search(latents, weights, K))
        milliseconds[i] = 1e3 * (time.perf_counter() - start)
    return Measured(name, milliseconds, found)


def check_against_scipy(index: InvertedIndex, documents: Documents, queries: SparseRows, exact: Measured) -> Measured:
    """Times scipy over the stored integers, and asserts that our hits are its hits, ties included."""
    quantiser = index.quantiser
    assert quantiser is not None
    stored = [quantiser.documents(chunk) for chunk in documents()]
    ends = np.cumsum([0, *(rows.indptr[-1] for rows in stored)])
    integers = SparseRows(
        np.concatenate([[0], *(rows.indptr[1:] + end for rows, end in zip(stored, ends))]).astype(np.int64),
        np.concatenate([rows.latents for rows in stored]),
        np.concatenate([rows.weights for rows in stored]).astype(np.float32),
        queries.n_latents,
    )
    del stored
    asked = [quantiser.query(*queries.row(i)) for i in range(min(SCIPY_QUERIES, len(queries)))]
    lengths = np.cumsum([0, *(len(query.latents) for query in asked)])
    rounded = SparseRows(
        lengths.astype(np.int64),
        np.concatenate([query.latents for query in asked]),
        np.concatenate([query.weights for query in asked]).astype(np.float32),
        queries.n_latents,
    )
    measured = time_search("scipy", scipy_columns(integers), rounded)
    for mine, theirs in zip(exact.found, measured.found):
        assert mine.tolist() == theirs.tolist(), "exact search and scipy disagree"
    print(f"exact search equals scipy on the stored integers: {len(asked)} queries, ties included")
    return measured


def bare(documents: Documents, n_latents: int, size: int) -> Search:
    """The bare scorer over our own counting sort; weights rounded to 16 bits on the way, to save memory."""
    from saelex.index.kernels_build import build_postings
    from saelex.index.kernels_types import ForwardRows

    indptr, latents, weights, heaviest = [np.zeros(1, np.int64)], [], [], 0.0
    for chunk in documents():
        heaviest = heaviest or 4 * float(chunk.weights.max())
        indptr.append(np.diff(chunk.indptr))
        latents.append(chunk.latents)
        weights.append(np.rint(chunk.weights * np.float32(65535 / heaviest)).astype(np.uint16))
    forward = ForwardRows(np.cumsum(np.concatenate(indptr)), np.concatenate(latents), np.concatenate(weights))
    del latents, weights
    return bare_scorer(*build_postings(forward, n_latents), size)


def others(
    documents: Documents, queries: SparseRows, size: int, folder: Path, without: Sequence[str]
) -> Iterable[Measured]:
    """Qdrant up to 200,000 documents (its build keeps all vectors in memory), Seismic over the first 20,000."""
    found = []
    if "qdrant" not in without and size <= SCIPY_MOST and installed("qdrant_edge"):
        start = time.perf_counter()
        search = qdrant(folder / "qdrant", documents())
        print(f"qdrant built in {time.perf_counter() - start:.0f} s, with making the vectors")
        found.append(time_search("qdrant", search, queries))
        del search
        gc.collect()
        shutil.rmtree(folder / "qdrant")
    if "seismic" not in without and size <= SCIPY_MOST and installed("seismic"):
        first = next(documents())[:SEISMIC_DOCUMENTS]
        start = time.perf_counter()
        search = seismic([first])
        print(f"seismic built over {len(first):,} documents only, in {time.perf_counter() - start:.0f} s")
        found.append(time_search(f"seismic over {len(first)}", search, queries))
    return found


def encode(collections: Sequence[str], model: str, n_queries: int) -> tuple[SparseRows, SparseRows]:
    """The model's vectors of the collections' documents and of their first queries, the same share of each."""
    from saelex.corpus.opening import named_split, read_collection
    from saelex.encoder.encoder import Encoder

    encoder = Encoder.load(model)
    rows, queries = [], []
    for folder in collections:
        collection = read_collection(*named_split(folder))
        texts = (document.content for document in collection.documents())
        rows += list(encoder.encode_stream(texts, side="document"))
        asked = [query.text for query in collection.queries[: -(-n_queries // len(collections))]]
        queries.append(encoder.encode_query(asked))
    return without_positions(rows), without_positions(queries)[:n_queries]


def without_positions(parts: Sequence[SparseRows]) -> SparseRows:
    whole = SparseRows.concatenate(list(parts))
    return SparseRows(whole.indptr, whole.latents, whole.weights, whole.n_latents)


def repeat_with_noise(rows: SparseRows, size: int, seed: int = 0) -> Iterator[SparseRows]:
    """The rows again and again: each copy loses a tenth of its latents and its weights vary by a tenth or so."""
    generator = np.random.default_rng(seed)
    for first in range(0, size, CHUNK):
        copy = rows[np.arange(first, min(first + CHUNK, size)) % len(rows)]
        noise = generator.normal(1, 0.1, copy.n_nonzero).astype(np.float32)
        kept = (generator.random(copy.n_nonzero) > 0.1) & (noise > 0)
        indptr = np.concatenate([[0], np.cumsum(kept)])[copy.indptr].astype(np.int64)
        yield SparseRows(indptr, copy.latents[kept], (copy.weights * noise)[kept], copy.n_latents)


if __name__ == "__main__":
    main()
