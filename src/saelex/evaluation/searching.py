"""One encoder on one collection: its two systems, searched through a real index, with what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from saelex.corpus.documents import Query, Run
from saelex.encoder.encoder import Encoder
from saelex.encoder.settings import Side
from saelex.encoder.words.channel import LexicalSettings
from saelex.evaluation.costs import MOST_ENCODED, encode_throughput, end_to_end_latency, measure_costs
from saelex.evaluation.encoded import JudgedDocuments
from saelex.evaluation.measures import DEPTH
from saelex.evaluation.vectors_cache import VectorsCache
from saelex.index.index import Index
from saelex.index.run import search_all
from saelex.top_k import shown
from saelex.training.mining.names import short_names
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    from saelex.evaluation.costs import Costs

CONCEPTS, WITH_WORDS = "concepts", "concepts+words"


class Found(NamedTuple):
    """What a system answered, and what that cost; costs are None where they are not ours to measure."""

    run: Run
    costs: Costs | None = None


@dataclass(frozen=True)
class Searcher:
    """An encoder as two systems: concepts alone, and concepts with exact words beside them.

    label: "" for the model that is evaluated, whose systems are "concepts" and "concepts+words"; of another model, its
        systems are "LABEL" and "LABEL+words". The Top-K is that of the encoder's settings.
    """

    encoder: Encoder
    label: str = ""

    @property
    def systems(self) -> dict[str, bool]:
        """Names of the two systems -> whether words count."""
        return {self.label: False, f"{self.label}+words": True} if self.label else {CONCEPTS: False, WITH_WORDS: True}

    @property
    def top_k(self) -> str:
        """Latents kept per query and document, as in "40/400"."""
        settings = self.encoder.settings
        return "/".join(map(shown, (settings.query_top_k, settings.document_top_k)))

    def facts(self) -> dict[str, dict[str, Any]]:
        """For either system what decides its vectors, and where they are computed, as JSON values."""
        shared = {
            "kind": "encoder",
            "model": short_names([self.encoder.name])[0],
            "fingerprint": self.encoder.fingerprint,
            "top_k": self.top_k,
            "settings": self.encoder.settings.to_dict(),
            "dtype": str(self.encoder.backbone.dtype).removeprefix("torch."),
            "device": _name_of(self.encoder.device),
        }
        return {name: {**shared, "words": words} for name, words in self.systems.items()}

    def search(
        self,
        judged: JudgedDocuments,
        cache: VectorsCache,
        *,
        depth: int = DEPTH,
        folder: Path | None = None,
        progress: bool = False,
    ) -> dict[str, Found]:
        """What both systems find, from one index: the query alone decides whether words count.

        The vectors come from the cache or, once, from the encoder. The documents of a JudgedDocuments come in ascending
        order of ids, so that the index's rule for ties (first added, first found) is `saelex.selection`'s down to
        the last rank. folder: where the index stays, a new folder; None: it goes when all is measured.
        """
        latents = self._latents(judged.questions, cache, progress)
        queries = {query.id: query.text for query in judged.collection.queries}
        with self.indexed([judged], judged.language, cache, folder=folder, progress=progress) as index:
            speeds = self._speeds(index, judged)
            return {
                name: Found(
                    search_all(index, queries, depth, latents=latents, words=words, title=name if progress else ""),
                    replace(
                        self._costs(index, judged, latents, words),
                        end_to_end_ms=end_to_end_latency(index, judged.questions, words=words),
                        encode_queries_per_s=speeds["query"],
                        encode_documents_per_s=speeds["document"],
                    ),
                )
                for name, words in self.systems.items()
            }

    @contextmanager
    def indexed(
        self,
        parts: Sequence[JudgedDocuments],
        language: str,
        cache: VectorsCache,
        *,
        folder: Path | None = None,
        progress: bool = False,
    ) -> Iterator[Index]:
        """One index of the documents of all parts, in their order, with words of a language beside the latents.

        The vectors come from the cache or, once, from the encoder. folder: as for `search`.
        """
        settings = self.encoder.settings
        lexical = LexicalSettings(language, scale=settings.word_scale)
        with _folder(folder) as path, Index.create(path, self.encoder, words=lexical) as index:
            for judged in parts:
                borders = judged.borders(self.encoder)
                passages = cache.rows(self.encoder, judged.passages(borders), "document", progress=progress)
                index.add_vectors(
                    judged.documents, passages.top_k(settings.document_top_k), passages=borders, progress=progress
                )
            yield index

    def asked(
        self, index: Index, queries: Sequence[Query], cache: VectorsCache, *, depth: int = DEPTH, progress: bool = False
    ) -> dict[str, Run]:
        """What both systems find with these queries in an index of `indexed`."""
        texts = {query.id: query.text for query in queries}
        latents = self._latents(list(texts.values()), cache, progress)
        return {
            name: search_all(index, texts, depth, latents=latents, words=words) for name, words in self.systems.items()
        }

    def _latents(self, questions: Sequence[str], cache: VectorsCache, progress: bool) -> SparseRows:
        rows = cache.rows(self.encoder, questions, "query", progress=progress)
        return rows.top_k(self.encoder.settings.query_top_k)

    def _speeds(self, index: Index, judged: JudgedDocuments) -> dict[Side, float]:
        """Texts encoded a second, of a sample: whether the cache had their vectors makes no difference."""
        passages = [text for chunk in index.stored(sample=MOST_ENCODED["document"]) for text in chunk.texts]
        texts: dict[Side, list[str]] = {"query": judged.questions, "document": passages}
        return {side: encode_throughput(self.encoder, texts[side], side) for side in texts}

    def _costs(self, index: Index, judged: JudgedDocuments, latents: SparseRows, words: bool) -> Costs:
        n_latents = self.encoder.n_latents
        queries = index.query_vectors(judged.questions, words=words, latents=latents)
        passages = stored_vectors(index, queries.n_latents)
        if not words:
            queries, passages = (_first_columns(rows, n_latents) for rows in (queries, passages))
        return measure_costs(queries, passages, n_latents=n_latents, n_documents=len(judged.documents))


def stored_vectors(index: Index, n_columns: int) -> SparseRows:
    """All vectors of an index as stored, without positions. n_columns: of the whole index, words included."""
    # words join with every commit, so that earlier segments have fewer columns
    parts = (replace(chunk.rows, n_latents=n_columns, positions=None) for chunk in index.stored())
    return SparseRows.concatenate(list(parts))


def _first_columns(rows: SparseRows, n_columns: int) -> SparseRows:
    return replace(rows.keep(rows.latents < n_columns), n_latents=n_columns)


def _name_of(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


@contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        yield wanted
        return
    with TemporaryDirectory(prefix="saelex-evaluate-") as scratch:
        yield Path(scratch) / "index"
