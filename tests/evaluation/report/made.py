"""An evaluation with known effects, and what reads a page back."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np

from saelex.evaluation.costs import Costs, Latency
from saelex.evaluation.results import CollectionResult, Evaluation, SystemResult
from saelex.evaluation.significance import compare_systems

BM25, CONCEPTS, WORDS = "bm25", "concepts", "concepts+words"
MEASURES = ("nDCG@10", "R@100")
NASTY = 'a|b $x$ *s* <script>alert("1")</script> `c` [d](http://e) é日本'
N_QUERIES = 40
VOID = {"meta", "br", "img", "wbr"}


def make_costs(scale: float = 1.0, **changes: Any) -> Costs:
    values: dict[str, Any] = {
        "query_active": 12.5 * scale,
        "document_active": 130.25 * scale,
        "qd_flops": 3.456 * scale,
        "postings": 12345.6 * scale,
        "latency_ms": Latency(1.234 * scale, 2.5 * scale, 30.0 * scale, 10, "exact", 1, 40),
        "encode_documents_per_s": 81.5,
        "encode_queries_per_s": None,
        "index_bytes_per_document": 2048.4 * scale,
        "latents_used": 0.3125,
        "df_gini": 0.8765,
        "end_to_end_ms": Latency(9.5 * scale, 12.0 * scale, 20.0 * scale, 10, "exact", 2, 32),
    }
    return Costs(**{**values, **changes})


def make_system(name: str, values: dict[str, list[float]], costs: Costs | None = None) -> SystemResult:
    per_query = {measure: {f"q{i:02}": value for i, value in enumerate(own)} for measure, own in values.items()}
    run = {f"q{i:02}": {f"d{j}": 9.0 - j for j in range(3)} for i in range(N_QUERIES)}
    return SystemResult(name, run, per_query, {m: sum(own) / len(own) for m, own in values.items()}, costs)


def make_collection(name: str, seed: int, names: tuple[str, str, str] = (BM25, CONCEPTS, WORDS)) -> CollectionResult:
    """The second system is better by 0.1 a query and the third worse under the first measure; the second ties."""
    random = np.random.default_rng(seed)
    base = random.uniform(0.3, 0.6, N_QUERIES)
    noise = random.uniform(-0.01, 0.01, N_QUERIES)
    flat = random.uniform(0.2, 0.9, N_QUERIES).tolist()
    lists = [base, base + 0.1 + noise, base - 0.05 + noise]
    costs = [None, make_costs(1 + seed), make_costs(2 + seed, latency_ms=None, index_bytes_per_document=None)]
    systems = [
        make_system(system, {MEASURES[0]: own.tolist(), MEASURES[1]: flat}, cost)
        for system, own, cost in zip(names, lists, costs)
    ]
    per_query = {one.system: one.per_query for one in systems}
    pairs = [(names[1], names[0]), (names[2], names[0])]
    return CollectionResult(name, "test", N_QUERIES, 1400 + seed, systems, compare_systems(per_query, pairs))


def make_evaluation(*collections: CollectionResult, reference: str = BM25) -> Evaluation:
    facts = {
        "command": "saelex evaluate some/where --against bm25",
        "date": "2026-01-02T03:04:05+00:00",
        "versions": {"python": "3.12.1", "torch": "2.13.0"},
        "machine": {"cores": 2, "cpu": "some processor"},
        "measures": list(MEASURES),
        "reference": reference,
        "depth": 100,
        "systems": {CONCEPTS: {"kind": "encoder", "fingerprint": "abc123", "settings": {"query_top_k": None}}},
    }
    return Evaluation(list(collections) or [make_collection("one", 0), make_collection("two", 1)], facts)


class Page(HTMLParser):
    """Tables as lists of rows of cell texts; everything that could refer to the outside; whether all tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.bold: set[str] = set()
        self.signs: list[tuple[str | None, str]] = []
        self.words = ""
        self._open: list[str] = []
        self._sign: str | None = None
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._seen(tag, attrs)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._seen(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "span" and dict(attrs).get("class") == "sign":
            self._sign = dict(attrs)["aria-label"]

    def _seen(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data")]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "span":
            self._sign = None

    def handle_data(self, data: str) -> None:
        self.words += data
        if self._sign is not None:
            self.signs.append((self._sign, data))
        elif "table" in self._open and {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += data
            if "b" in self._open:
                self.bold.add(data)
