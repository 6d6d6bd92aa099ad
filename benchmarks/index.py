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
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import synthetic
from bare_scorer import bare_scorer
from report import Report, table
from saelex.engines.qdrant_edge import QdrantEdgeStore
from saelex.engines.scipy import ScipyEngine
from saelex.engines.seismic import SeismicEngine
from saelex.engines.url import EngineUrl
from saelex.index.disk.storage import Storage
from saelex.index.engine import Hits, VectorEngine
from saelex.index.inverted import InvertedIndex
from saelex.index.request import Mode
from saelex.vectors import SparseRows

K = 10
CHUNK = 50_000
SCIPY_MOST = 200_000  # documents; beyond, its copy of the matrix would not fit beside ours
SCIPY_QUERIES = 100
SEISMIC_DOCUMENTS = 20_000  # it took 14 minutes to build an index of 200,000 of these, so it gets fewer
PRUNED: tuple[Mode, ...] = ("capped", "two_step")
Search = Callable[[SparseRows, int], Hits]
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
        exact = time_search("exact", index.search, queries)
        measured = [exact]
        measured += [time_search(mode, partial(index.search, mode=mode), queries) for mode in PRUNED]
        if "scipy" not in options.without and size <= SCIPY_MOST:
            measured.append(check_against_scipy(index, documents, queries, exact))
        if "bare" not in options.without:
            measured.append(time_search("bare numba", bare_scorer(documents(), queries.n_latents), queries))
        measured += others(documents, queries, size, folder, options.without)

    print(table(("way", "p50 ms", "p99 ms", f"recall@{K}", "postings/query"), [way.row(exact) for way in measured]))
    add_latencies(report, "_model" if own_vectors else {200_000: "_200k"}.get(size, suffix), exact, measured)
    shutil.rmtree(path)


def build(path: Path, documents: Documents, n_latents: int, bits: int) -> tuple[float, NDArray[np.int64]]:
    """Seconds to build the index with forward rows (making the vectors is not counted), and document frequencies."""
    frequencies = np.zeros(n_latents, np.int64)

    def counted() -> Iterator[SparseRows]:
        for chunk in documents():
            frequencies[:] += np.bincount(chunk.latents, minlength=n_latents)
            yield chunk

    index = InvertedIndex.create(path, n_latents, bits=bits, pruned=True)
    seconds = fill(index, counted())
    start = time.perf_counter()
    index.merge()
    index.close()
    return seconds + time.perf_counter() - start, frequencies


def fill(engine: VectorEngine, chunks: Iterable[SparseRows]) -> float:
    """Adds all chunks, with row numbers for ids; seconds of adding alone."""
    seconds = 0.0
    for chunk in chunks:
        ids = [str(row) for row in range(len(engine), len(engine) + len(chunk))]
        start = time.perf_counter()
        engine.add(ids, chunk)
        seconds += time.perf_counter() - start
    return seconds


def add_sizes(report: Report, suffix: str, seconds: float, path: Path) -> None:
    """Build time and size; the size without forward rows is what such an index would not have, taken away."""
    whole = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 2**20
    with closing(Storage.open(path)) as storage:
        arrays = [array for segment in storage.snapshot.segments for array in segment.sizes.items()]
    pruned = sum(size for name, size in arrays if name.startswith(("forward", "capped", "first_step"))) / 2**20
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


def time_search(name: str, search: Search, queries: SparseRows) -> Measured:
    """The public way, one query at a time: floats in, ids and float scores out."""
    for i in range(min(20, len(queries))):
        search(queries[i : i + 1], K)
    milliseconds, hits = np.empty(len(queries)), []
    for i in range(len(queries)):
        query = queries[i : i + 1]
        start = time.perf_counter()
        hits.append(search(query, K))
        milliseconds[i] = 1e3 * (time.perf_counter() - start)
    read = [each.postings[0] for each in hits if each.postings is not None]
    found = [np.array(each.ids[0], np.int64) for each in hits]
    return Measured(name, milliseconds, found, float(np.mean(read)) if read else None)


def check_against_scipy(index: InvertedIndex, documents: Documents, queries: SparseRows, exact: Measured) -> Measured:
    """Times scipy over the stored integers, and asserts that our hits are its hits, ties included."""
    quantiser = index.quantiser
    assert quantiser is not None
    n_latents, first = queries.n_latents, queries[:SCIPY_QUERIES]
    stored = (quantiser.documents(chunk) for chunk in documents())
    engine = ScipyEngine(n_latents)
    fill(engine, (SparseRows.build(rows.indptr, rows.latents, rows.weights, n_latents) for rows in stored))
    asked = [quantiser.query(*query) for query in first]
    lengths = np.cumsum([0, *(len(query.latents) for query in asked)])
    latents, weights = (np.concatenate([query[i] for query in asked]) for i in (0, 1))
    measured = time_search("scipy", engine.search, SparseRows.build(lengths, latents, weights, n_latents))
    for mine, theirs in zip(exact.found, measured.found):
        assert mine.tolist() == theirs.tolist(), "exact search and scipy disagree"
    print(f"exact search equals scipy on the stored integers: {len(asked)} queries, ties included")
    return measured


def others(
    documents: Documents, queries: SparseRows, size: int, folder: Path, without: Sequence[str]
) -> Iterable[Measured]:
    """Qdrant up to 200,000 documents (its build keeps all vectors in memory), Seismic over the first 20,000."""
    measured = []
    if "qdrant" not in without and size <= SCIPY_MOST and installed("qdrant_edge"):
        url = EngineUrl.parse(f"qdrant+edge://{folder}/qdrant?threads=1")
        with closing(QdrantEdgeStore.create(url, queries.n_latents)) as qdrant:
            start = time.perf_counter()
            fill(qdrant, documents())
            qdrant.merge()
            print(f"qdrant built in {time.perf_counter() - start:.0f} s, with making the vectors")
            measured.append(time_search("qdrant", qdrant.search, queries))
        gc.collect()
        shutil.rmtree(folder / "qdrant")
    if "seismic" not in without and size <= SCIPY_MOST and installed("seismic"):
        with closing(SeismicEngine(queries.n_latents)) as seismic:
            fill(seismic, [next(documents())[:SEISMIC_DOCUMENTS]])
            start = time.perf_counter()
            seismic.search(queries[:1])  # builds
            print(f"seismic built over {len(seismic):,} documents only, in {time.perf_counter() - start:.0f} s")
            measured.append(time_search(f"seismic over {len(seismic)}", seismic.search, queries))
    return measured


def installed(package: str) -> bool:
    """False, and one line saying so, where a package is missing."""
    if find_spec(package) is None:
        print(f"{package} is not installed: skipped")
        return False
    return True


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
