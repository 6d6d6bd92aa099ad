"""Which words stand where latents fire: tokens of a text, and masses of (latent, word or pair of words)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.concepts.content import content_words, words_in
from saelex.encoder.words.languages import stemmer
from saelex.errors import InputError

_TERM_BITS = 21
MOST_TERMS = 1 << _TERM_BITS
MOST_LATENTS = 1 << 20
CONTEXT = 3
CONTEXT_SHARE = 0.25


class TextTokens(NamedTuple):
    """A text's tokens; all arrays are [tokens]."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    terms: NDArray[np.int64]
    """Inflections of one word are one term."""
    content: NDArray[np.bool_]
    """Neither a function word, nor a sign, nor a lone letter."""

    def at(self, spans: NDArray[np.int64]) -> NDArray[np.int64]:
        """The token at each character span [spans, 2]: the one it begins in or, after a space, the next; -1: none."""
        if not len(self.starts):
            return np.full(len(spans), -1, np.int64)
        found = np.searchsorted(self.starts, spans[:, 0], side="right") - 1
        found += spans[:, 0] >= np.where(found >= 0, self.ends[found], 0)
        last = np.minimum(found, len(self.starts) - 1)
        return np.where((found <= last) & (self.starts[last] < spans[:, 1]), last, -1)


class Terms:
    """Numbers the words of the texts it splits, inflections together, and remembers how each is mostly spelt."""

    def __init__(self, language: str) -> None:
        self._stem = stemmer(language)
        self._is_content = content_words(language)
        self._terms: dict[str, int] = {}
        self._spellings: dict[str, int] = {}
        self._term_of: list[int] = []
        self._content_of: list[bool] = []
        self._counts: Counter[int] = Counter()

    def split(self, text: str, pieces: Iterable[tuple[int, int]] = ()) -> TextTokens:
        """The tokens of a text; pieces as in `words_in`. Words beyond the two millionth share the last number."""
        words = words_in(text, pieces)
        spellings = [self._spelling(text[start:end].lower()) for start, end in words]
        self._counts.update(spellings)
        return TextTokens(
            np.array([start for start, _ in words], np.int64),
            np.array([end for _, end in words], np.int64),
            np.array([self._term_of[i] for i in spellings], np.int64),
            np.array([self._content_of[i] for i in spellings], np.bool_),
        )

    def _spelling(self, word: str) -> int:
        number = self._spellings.get(word)
        if number is None:
            number = self._spellings[word] = len(self._spellings)
            term = self._stem(word)
            self._term_of.append(self._terms.setdefault(term, min(len(self._terms), MOST_TERMS - 2)))
            self._content_of.append(self._is_content(word))
        return number

    def names(self) -> dict[int, str]:
        """Every term as it is spelt most often."""
        spelt = list(self._spellings)
        best = sorted(self._counts.items(), key=lambda item: (item[1], -item[0]))
        return {self._term_of[i]: spelt[i] for i, _ in best}

    def is_content(self) -> NDArray[np.bool_]:
        """Which terms are content words, [terms]."""
        content = np.zeros(min(len(self._terms), MOST_TERMS - 1), np.bool_)
        # a term is a content word when each of its spellings is: "its" makes "it" none
        content[self._term_of] = True
        content[np.array(self._term_of, np.int64)[~np.array(self._content_of, np.bool_)]] = False
        return content


class EvidenceTable(NamedTuple):
    """Masses of words and pairs under latents, all [entries], sorted by latent."""

    latents: NDArray[np.int64]
    first: NDArray[np.int64]
    """The word, or the pair's first."""
    second: NDArray[np.int64]
    """The pair's second word; -1 for a single word."""
    masses: NDArray[np.float64]
    """In units of the mean weight of a firing."""


class EvidenceCounter:
    """Adds up masses in bounded memory: beyond `capacity` distinct entries, the half with the least mass is dropped.

    A firing counts with its weight: for the word at its strongest token, and for the pairs that word makes with its
    neighbours, whole; for the content words at most three tokens away, a quarter.
    """

    def __init__(self, n_latents: int, capacity: int = 4_000_000) -> None:
        if n_latents > MOST_LATENTS:
            raise InputError(f"labels: at most {MOST_LATENTS} latents can be labelled, not {n_latents}")
        self._capacity = capacity
        self._keys = np.zeros(0, np.int64)
        self._masses = np.zeros(0, np.float64)
        self._waiting: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
        self._n_waiting = 0
        self._n_firings = 0
        self._weight = 0.0

    def observe(self, tokens: TextTokens, latents: NDArray[Any], weights: NDArray[Any], at: NDArray[np.int64]) -> None:
        """Latents [firings] fired with weights [firings] at the tokens `at` [firings] (-1: at none)."""
        known = at >= 0
        latents, weights, at = latents[known].astype(np.int64), weights[known].astype(np.float64), at[known]
        self._n_firings += len(weights)
        self._weight += float(weights.sum())
        self._add(latents, tokens.terms[at], None, weights)
        touching = tokens.starts[1:] - tokens.ends[:-1] <= 1
        joined = np.append(tokens.content[:-1] & tokens.content[1:] & touching, False)
        for left in (at, at - 1):
            pair = (left >= 0) & joined[left]
            first = left[pair]
            self._add(latents[pair], tokens.terms[first], tokens.terms[first + 1], weights[pair])
        for offset in (*range(-CONTEXT, 0), *range(1, CONTEXT + 1)):
            near = at + offset
            inside = (near >= 0) & (near < len(tokens.terms))
            inside[inside] = tokens.content[near[inside]]
            self._add(latents[inside], tokens.terms[near[inside]], None, weights[inside] * CONTEXT_SHARE)
        if self._n_waiting > max(self._capacity // 2, len(self._keys)):
            self._settle()

    def _add(
        self,
        latents: NDArray[np.int64],
        first: NDArray[np.int64],
        second: NDArray[np.int64] | None,
        masses: NDArray[np.float64],
    ) -> None:
        keys = ((latents << _TERM_BITS | first) << _TERM_BITS) + (0 if second is None else second + 1)
        self._waiting.append((keys, masses))
        self._n_waiting += len(keys)

    def _settle(self) -> None:
        keys = np.concatenate([self._keys, *(keys for keys, _ in self._waiting)])
        masses = np.concatenate([self._masses, *(masses for _, masses in self._waiting)])
        self._waiting, self._n_waiting = [], 0
        self._keys, inverse = np.unique(keys, return_inverse=True)
        self._masses = np.bincount(inverse, masses, minlength=len(self._keys)).astype(np.float64)
        if len(self._keys) > self._capacity:
            kept = np.sort(np.argpartition(-self._masses, self._capacity // 2)[: self._capacity // 2])
            self._keys, self._masses = self._keys[kept], self._masses[kept]

    def table(self) -> EvidenceTable:
        """All that was kept."""
        self._settle()
        low = MOST_TERMS - 1
        words = self._keys & ((1 << 2 * _TERM_BITS) - 1)
        masses = self._masses * (self._n_firings / self._weight if self._weight else 1.0)
        return EvidenceTable(self._keys >> 2 * _TERM_BITS, words >> _TERM_BITS, (words & low) - 1, masses)


def particularity(table: EvidenceTable, prior: float = 20.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How particular each entry's word is to its latent: (score, log-odds), both [entries].

    With p the word's share of all latents' mass and p_j = (mass + prior · p) / (latent's mass + prior) its share of
    this latent's, smoothed towards p: log-odds = log(p_j / p) and score = p_j · log(p_j / p), the word's part of the
    Kullback-Leibler divergence (Tomokiyo & Hurst 2003). Unlike plain log-odds, it passes over words that the latent
    met once. prior: in firings.
    """
    masses = table.masses
    _, word = np.unique(table.first * MOST_TERMS + table.second + 1, return_inverse=True)
    share = np.bincount(word, masses)[word] / masses.sum()
    total = np.bincount(table.latents, masses)[table.latents]
    smoothed = (masses + prior * share) / (total + prior)
    log_odds = np.log(smoothed / share)
    return smoothed * log_odds, log_odds


def as_spans(spans: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Character spans as int64 [spans, 2]."""
    return np.asarray(spans, np.int64).reshape(-1, 2)
