"""Which passages and queries of a source are used: not a test set's, not blank, and scored where the loss needs it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from saelex.corpus.documents import Document
from saelex.corpus.reading import read_corpus
from saelex.training.examples.example import Passage, TrainingQuery
from saelex.training.text_reading import text_digest


class PassageFilter:
    """What is left of a source's queries.

    exclude: corpora (BEIR folders, JSONL, TSV) none of whose passages may be trained on.
    needs_scores: a query needs a positive and a negative that a teacher scored.
    labelled: a query needs a positive; without that any passage does, and no score is asked for.
    Raises InputError where a corpus is missing or malformed.
    """

    def __init__(self, exclude: Iterable[str] = (), needs_scores: bool = False, labelled: bool = True) -> None:
        self.needs_scores, self.labelled = needs_scores and labelled, labelled
        documents = (document for corpus in exclude for document in read_corpus(corpus))
        # A passage may come with its title in one collection and without it in another.
        texts = (text for found in documents for text in (found.text, found.content) if text.strip())
        self._excluded = frozenset(map(text_digest, texts))

    @property
    def excludes(self) -> bool:
        """Whether any passage is excluded."""
        return bool(self._excluded)

    def bans(self, text: str) -> bool:
        """Whether the passage is blank, or one of an excluded corpus, with title or without, but for white space."""
        return not text.strip() or self._is_excluded(text)

    def bans_document(self, document: Document) -> bool:
        """Whether it is banned as it is encoded, or excluded without its title."""
        return self.bans(document.content) or self._is_excluded(document.text)

    def _is_excluded(self, text: str) -> bool:
        return self.excludes and text_digest(text) in self._excluded

    def usable(self, query: TrainingQuery) -> TrainingQuery | None:
        """The query without banned passages, doubles, and negatives that repeat a positive; None if it cannot be used.

        It cannot where it is blank, where no positive remains (of an unlabelled one: no passage), and, if scores are
        needed, where no scored positive or no scored negative does.
        """
        positives = self._distinct(query.positives, set())
        negatives = self._distinct(query.negatives, {_normalised(passage.text) for passage in positives})
        enough = bool(positives or (negatives and not self.labelled))
        if self.needs_scores:
            enough = any(p.score is not None for p in positives) and any(n.score is not None for n in negatives)
        return TrainingQuery(query.query, positives, negatives) if enough and query.query.strip() else None

    def facts(self) -> dict[str, Any]:
        """What distinguishes this filter from another: a key for what is remembered of a file."""
        joined = hashlib.sha256(b"".join(sorted(self._excluded))).hexdigest() if self._excluded else ""
        return {"needs_scores": self.needs_scores, "labelled": self.labelled, "excluded": joined}

    def _distinct(self, passages: Iterable[Passage], seen: set[str]) -> tuple[Passage, ...]:
        """The passages that are not banned, each text once. Of doubles the first that has a score stays."""
        kept: dict[str, Passage] = {}
        for passage in passages:
            key = _normalised(passage.text)
            if key in seen or self.bans(passage.text):
                continue
            if key not in kept or (kept[key].score is None and passage.score is not None):
                kept[key] = passage
        return tuple(kept.values())


def _normalised(text: str) -> str:
    return " ".join(text.split())
