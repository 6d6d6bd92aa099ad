"""What there is to see of concepts in an index: which fire in a text, and all that is known of one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from saelex.concepts.concept import Concept
from saelex.concepts.content import content_words_in
from saelex.concepts.explanation import FiredText
from saelex.concepts.store import ConceptStore
from saelex.encoder.settings import Side
from saelex.errors import InputError
from saelex.index.disk.segments import Segment
from saelex.index.disk.snapshot import Snapshot
from saelex.index.modes import SegmentView
from saelex.index.text_encoder import TextEncoder
from saelex.vectors import SparseRows

_SHOWN = 8
_SAMPLE = 2000
"""Passages of a concept that are read for what else fires in them."""


class FiredConcept(NamedTuple):
    """A latent that fires in a text."""

    latent: int
    label: str
    weight: float
    words: list[str]
    """The content words at which it is strongest."""
    context: list[str]
    """Where that is a function word or a sign: the strongest content word of the text."""
    density: float
    """Share of the index's passages in which it fires."""


class Neighbour(NamedTuple):
    """A latent near another one. similarity: cosine of their directions in the encoder, or share of passages."""

    latent: int
    label: str
    similarity: float


class ConceptView(NamedTuple):
    """All that an index and its encoder know of one latent."""

    latent: int
    label: str
    density: float
    """Share of the index's passages in which it fires."""
    concept: Concept | None
    """Evidence, examples and source of the label; None where no label is known."""
    neighbours: list[Neighbour]
    """The latents whose directions are nearest, nearest first."""
    fires_with: list[Neighbour]
    """The latents that fire in the same passages, those most particular to them first, with the share of this one's
    passages (of a sample of at most 2,000) that they fire in."""

    @property
    def page(self) -> str | None:
        """Where what is published of it is shown; None where nothing is."""
        published = None if self.concept is None else self.concept.published
        return None if published is None else published.page(self.latent)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "latent": self.latent,
            "label": self.label,
            "density": self.density,
            "concept": None if self.concept is None else self.concept.to_json(),
            "page": self.page,
            "neighbours": [near._asdict() for near in self.neighbours],
            "fires_with": [near._asdict() for near in self.fires_with],
        }


@dataclass(frozen=True, eq=False)
class ConceptViews:
    """The concepts of one index at one commit.

    language: of its words. reader: of the labels that are shown; None: of a text its own, else the whole corpus's.
    """

    encoder: TextEncoder
    snapshot: Snapshot
    concepts: ConceptStore | None
    language: str
    reader: str | None

    def in_text(self, text: str, side: Side, row: SparseRows | None = None) -> list[FiredConcept]:
        """The concepts that fire in a text, heaviest first. Raises InputError for another side.

        row: [1, latents], the text's vector, where it is there already.
        """
        if side not in get_args(Side):
            raise InputError(f"a text is encoded as a 'query' or as a 'document', not as {side!r:.40}")
        if row is None:
            row = (self.encoder.encode_query if side == "query" else self.encoder.encode_document)([text])
        spans = self.encoder.token_spans(text, side)
        is_content = content_words_in(text, self.language)
        fired = FiredText(text, row.latents, row.weights, row.positions, spans, is_content=is_content)
        shares = self.shares(row.latents)
        reader = self.reader if self.reader or self.concepts is None else self.concepts.language_of(text)
        return [
            FiredConcept(
                latent := int(row.latents[i]),
                self.label(latent, reader),
                float(row.weights[i]),
                *fired.fired(i),
                shares[i],
            )
            for i in np.argsort(-row.weights, kind="stable").tolist()
        ]

    def of(self, latent: int) -> ConceptView:
        """All that is known of a latent. Raises InputError where there is none of that number."""
        if isinstance(latent, bool) or not isinstance(latent, int) or not 0 <= latent < self.encoder.n_latents:
            raise InputError(f"no latent {latent!r}; they run from 0 to {self.encoder.n_latents - 1}")
        return ConceptView(
            latent,
            self.label(latent, self.reader),
            self.shares(np.array([latent], np.int32))[0],
            None if self.concepts is None else self.concepts.get(latent),
            [Neighbour(i, self.label(i, self.reader), value) for i, value in self.encoder.neighbours(latent, _SHOWN)],
            [Neighbour(i, self.label(i, self.reader), share) for i, share in self._fires_with(latent)],
        )

    def label(self, latent: int, reader: str | None) -> str:
        """A latent's label for a reader: the index's own where it has some, else the encoder's."""
        return self.encoder.label(latent) if self.concepts is None else self.concepts.label(latent, reader)

    def shares(self, latents: NDArray[np.int32]) -> list[float]:
        """Share of the live passages in which each of the latents fires."""
        found: list[float] = (self.snapshot.frequencies(latents) / max(1, self.snapshot.n_live)).tolist()
        return found

    def _fires_with(self, latent: int) -> list[tuple[int, float]]:
        """Latents that share passages with this one and their share of its passages, most particular first.

        With p its share of these passages and q of a random sample of all, a latent is particular by p · log(p / q).
        """
        together = self._counts([_rows(*part, latent) for part in self._parts()])
        anywhere = self._counts([_live_rows(*part) for part in self._parts()])
        if together is None or anywhere is None:
            return []
        with np.errstate(divide="ignore", invalid="ignore"):
            # a latent that the random sample misses counts as if it had it once
            score = np.where(together > 0, together * np.log(together / np.maximum(anywhere, 1 / _SAMPLE)), -np.inf)
        score[latent] = -np.inf
        best = [int(i) for i in np.argsort(-score, kind="stable")[:_SHOWN] if score[i] > 0]
        return [(i, float(together[i])) for i in best]

    def _parts(self) -> Iterable[tuple[Segment, SegmentView]]:
        return zip(self.snapshot.segments, self.snapshot.views)

    def _counts(self, rows: list[NDArray[np.int64]]) -> NDArray[np.float64] | None:
        """In what share of these rows of each segment ([rows] each) every latent fires, [latents]; None of no rows.

        Of many rows a random sample is read, the same one every time.
        """
        total = sum(map(len, rows))
        if not total:
            return None
        chosen = np.arange(total)
        if total > _SAMPLE:
            chosen = np.sort(np.random.default_rng(0).choice(total, _SAMPLE, replace=False))
        counts = np.zeros(self.encoder.n_latents, np.int64)
        first = 0
        for segment, own in zip(self.snapshot.segments, rows):
            low, high = np.searchsorted(chosen, [first, first + len(own)])
            if low < high:
                latents = segment.entries_of(own[chosen[low:high] - first]).latents
                counts += np.bincount(latents[latents < len(counts)], minlength=len(counts))
            first += len(own)
        return counts / len(chosen)


def _rows(segment: Segment, view: SegmentView, latent: int) -> NDArray[np.int64]:
    """The segment's live rows in which a latent fires, ascending."""
    if latent >= segment.n_columns:
        return np.zeros(0, np.int64)
    postings = segment.postings.lines(np.array([latent]))
    rows = postings.rows[postings.indptr[latent] : postings.indptr[latent + 1]].astype(np.int64)
    return rows if view.live is None else rows[view.live[rows] > 0]


def _live_rows(segment: Segment, view: SegmentView) -> NDArray[np.int64]:
    return np.arange(segment.n_rows) if view.live is None else np.flatnonzero(view.live)
