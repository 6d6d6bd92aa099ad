"""What a server counts and times, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Gauges(NamedTuple):
    """What is read off when somebody asks. waiting: items by queue. postings: read so far, by index."""

    waiting: Callable[[], Mapping[str, int]]
    postings: Callable[[], Mapping[str, int]]


class Metrics:
    """One server's own registry, so that several can be in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "saelex_requests", "Answered requests.", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "saelex_request_seconds", "From a request to its answer.", ("route",), registry=self.registry,
            buckets=_SECONDS,
        )  # fmt: skip
        self._stages = Histogram(
            "saelex_stage_seconds", "Of a request in one stage: queue, encode, search, explain or write.", ("stage",),
            registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip
        self._batches = Histogram(
            "saelex_batch_items", "Items worked on together, by queue.", ("queue",), registry=self.registry,
            buckets=_ITEMS,
        )  # fmt: skip
        self._cached = Counter(
            "saelex_query_vectors", "Query vectors asked for: made, or there already.", ("found",),
            registry=self.registry,
        )  # fmt: skip

    def stage(self, name: str, seconds: float) -> None:
        """A request was so long in one stage."""
        self._stages.labels(name).observe(seconds)

    def batched(self, queue: str) -> Callable[[int], None]:
        """What is told how many items each batch of a queue had."""
        return self._batches.labels(queue).observe

    def cached(self, found: bool) -> None:
        """A query's vector was asked for; whether it was there."""
        self._cached.labels("cached" if found else "made").inc()

    def watch(self, gauges: Gauges) -> None:
        """Show these, too."""
        self.registry.register(_Watched(gauges))

    def text(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)


class _Watched(Collector):
    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("saelex_queue_items", "Items that wait or are worked on.", labels=["queue"])
        for queue, items in self._gauges.waiting().items():
            waiting.add_metric([queue], items)
        yield waiting
        postings = CounterMetricFamily("saelex_postings_read", "Postings that searches have read.", labels=["index"])
        for index, read in self._gauges.postings().items():
            postings.add_metric([index], read)
        yield postings
