"""Labels derived from a corpus, without any language model: the words most particular to where a latent fires."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.concepts.concept import CONTEXT_MARK, SEPARATOR, Concept, Evidence, Example
from saelex.concepts.evidence import EvidenceCounter, EvidenceTable, Terms, TextTokens, as_spans, particularity
from saelex.encoder.words.languages import AUTO, DEFAULT_LANGUAGE, with_rules
from saelex.encoder.words.scripts import is_unspaced
from saelex.encoder.words.telling import told_language

_EVIDENCE = 20
_EXAMPLES = 4
_KEPT_EXAMPLES = 8
_PASSAGE_MARGIN = 80
_LEAST_PAIR = 3
_LEAST_SHARE = 0.01
_LEAST_TEXTS = 5
_LEAST_MASS = 3.0


class Firing(NamedTuple):
    """A document (or a passage of one) and the latents that fire in it."""

    document_id: str
    text: str
    latents: NDArray[Any]
    """int [firings]; words are left out."""
    weights: NDArray[Any]
    """[firings], of any unit."""
    positions: NDArray[Any] | None
    """int [firings]; the token at which each fires most strongly, -1 where unknown."""
    token_spans: Sequence[tuple[int, int]]
    """Characters [start, end) of every token a position may name; (0, 0) for special tokens."""


def derive_labels(
    firings: Iterable[Firing],
    n_latents: int,
    *,
    language: str = DEFAULT_LANGUAGE,
    words: int = 3,
    capacity: int = 4_000_000,
) -> Iterator[Concept]:
    """Concepts of all latents that fire at or near some content word, in order of latent.

    A label is made of content words alone. Of a latent that fires at a function word or a sign they are those that
    stand near, and the label says so ("wing · lift (context)"); the evidence names the word that it fires at.

    One pass; what is held grows with the vocabulary, not with the corpus. language: whose stop words and inflections
    count, as in `LexicalSettings`. words: most words (or pairs of words) of a label. capacity: most masses of (latent,
    word) held, under "auto" twice, and a quarter as many for each language; the smallest are dropped beyond it.

    Under "auto" a corpus of several languages gives labels in each of them beside (`Concept.labels`), from the texts
    that tell it for sure: in a language that one text in a hundred tells, of latents that fire in five such texts, of
    words at which they fire three times. All its labels are then of words as `words_in` cuts them by the tokens. Raises
    InputError where the package that tells languages is missing.
    """
    corpus, languages = _Corpus(n_latents, language, capacity), _Languages(n_latents, capacity)
    for firing in firings:
        corpus.observe(firing)
        if language == AUTO:
            languages.observe(firing)
    labels = languages.labels(words)
    yield from (languages.corpus if labels else corpus).concepts(words, labels)


class _Seen:
    """At which words of some texts the latents fire. language: whose rules cut the words."""

    def __init__(self, n_latents: int, language: str, capacity: int) -> None:
        self.activity = _Activity(n_latents)
        self._terms, self._counter = Terms(language), EvidenceCounter(n_latents, capacity)

    def observe(self, firing: Firing, pieces: Sequence[tuple[int, int]] = ()) -> tuple[TextTokens, NDArray[np.int64]]:
        """The text's tokens, cut as `words_in` says, and that at which each latent fired."""
        tokens = self._terms.split(firing.text, pieces)
        at = _tokens_fired_at(firing, tokens)
        self._counter.observe(tokens, firing.latents, firing.weights, at)
        self.activity.observe(firing)
        return tokens, at

    def labels(self, most: int, least_mass: float = 0.0) -> Iterator[tuple[int, str, tuple[Evidence, ...]]]:
        """Every latent with a label of at most so many words and with its evidence; words of less mass are passed."""
        table = self._counter.table()
        scores, log_odds = particularity(table)
        scores[table.masses < least_mass] = 0.0
        names, content = self._terms.names(), self._terms.is_content()
        for latent, best in _strongest(table, scores, content):
            candidates = [
                _Candidate(int(table.first[i]), int(table.second[i]), float(scores[i]), float(log_odds[i]))
                for i in best
            ]
            label = SEPARATOR.join(_spell(candidate, names) for candidate in _choose(candidates, content, most))
            if not label:
                continue
            fires_at = candidates[0]
            if fires_at.second < 0 and not content[fires_at.first]:
                label += CONTEXT_MARK
            yield latent, label, tuple(Evidence(_spell(one, names), one.log_odds) for one in candidates)


class _Corpus(_Seen):
    """All texts, with examples."""

    def __init__(self, n_latents: int, language: str, capacity: int) -> None:
        super().__init__(n_latents, language, capacity)
        self._examples = _Examples(n_latents)

    def observe(self, firing: Firing, pieces: Sequence[tuple[int, int]] = ()) -> tuple[TextTokens, NDArray[np.int64]]:
        tokens, at = super().observe(firing, pieces)
        self._examples.observe(firing, tokens, at)
        return tokens, at

    def concepts(self, most: int, labels: Mapping[int, Mapping[str, str]]) -> Iterator[Concept]:
        """labels: of latents in languages."""
        activity = self.activity
        for latent, label, evidence in self.labels(most):
            yield Concept(
                latent,
                label,
                evidence,
                self._examples.best(latent),
                float(activity.documents[latent] / activity.n_documents),
                float(activity.weights[latent] / activity.documents[latent]),
                labels=labels.get(latent, {}),
            )


class _Languages:
    """The texts of every language, apart, and the corpus of them all."""

    def __init__(self, n_latents: int, capacity: int) -> None:
        self.corpus = _Corpus(n_latents, AUTO, capacity)
        self._n_latents, self._capacity = n_latents, capacity // 4
        self._seen: dict[str, _Seen] = {}

    def observe(self, firing: Firing) -> None:
        self.corpus.observe(firing, firing.token_spans)
        language = told_language(firing.text)
        if language is None:
            return
        if language not in self._seen:
            self._seen[language] = _Seen(self._n_latents, with_rules(language), self._capacity)
        self._seen[language].observe(firing, firing.token_spans)

    def labels(self, most: int) -> dict[int, dict[str, str]]:
        """Latent -> language -> label; none at all where the texts are of one language."""
        enough = _LEAST_SHARE * self.corpus.activity.n_documents
        spoken = {code: seen for code, seen in sorted(self._seen.items()) if seen.activity.n_documents >= enough}
        labels: defaultdict[int, dict[str, str]] = defaultdict(dict)
        for language, seen in spoken.items() if len(spoken) > 1 else ():
            for latent, label, _ in seen.labels(most, _LEAST_MASS):
                if seen.activity.documents[latent] >= _LEAST_TEXTS:
                    labels[latent][language] = label
        return labels


def _tokens_fired_at(firing: Firing, tokens: TextTokens) -> NDArray[np.int64]:
    """The token of the text at which each latent fired, -1 for special tokens and where it is not known."""
    spans = as_spans(firing.token_spans)
    if firing.positions is None or not len(spans):
        return np.full(len(firing.latents), -1, np.int64)
    known = (firing.positions >= 0) & (firing.positions < len(spans))
    return np.where(known, tokens.at(spans)[np.where(known, firing.positions, 0)], -1)


@dataclass
class _Activity:
    n_latents: int
    n_documents: int = 0
    documents: NDArray[np.int64] = field(init=False)
    weights: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.documents = np.zeros(self.n_latents, np.int64)
        self.weights = np.zeros(self.n_latents, np.float64)

    def observe(self, firing: Firing) -> None:
        self.n_documents += 1
        self.documents[firing.latents] += 1
        self.weights[firing.latents] += firing.weights


class _Examples:
    """The passages of largest weight for every latent, a handful each."""

    def __init__(self, n_latents: int) -> None:
        self._least = np.zeros(n_latents)
        self._heaps: dict[int, list[tuple[float, int, Example]]] = {}
        self._order = 0

    def observe(self, firing: Firing, tokens: TextTokens, at: NDArray[np.int64]) -> None:
        better = (at >= 0) & (firing.weights > self._least[firing.latents])
        for i in np.flatnonzero(better):
            latent, weight, token = int(firing.latents[i]), float(firing.weights[i]), int(at[i])
            start, end = int(tokens.starts[token]), int(tokens.ends[token])
            example = Example(firing.document_id, passage(firing.text, start, end), firing.text[start:end], weight)
            heap = self._heaps.setdefault(latent, [])
            self._order -= 1  # among equal weights the earlier document stays
            if len(heap) < _KEPT_EXAMPLES:
                heapq.heappush(heap, (weight, self._order, example))
            else:
                heapq.heapreplace(heap, (weight, self._order, example))
            if len(heap) == _KEPT_EXAMPLES:
                self._least[latent] = heap[0][0]

    def best(self, latent: int) -> tuple[Example, ...]:
        """The largest, from different documents; other words before the same word again."""
        ordered = [example for _, _, example in sorted(self._heaps.get(latent, ()), reverse=True)]
        documents, words = set[str](), set[str]()
        fresh, repeated = list[Example](), list[Example]()
        for example in ordered:
            if example.document_id not in documents:
                (repeated if example.word.lower() in words else fresh).append(example)
            documents.add(example.document_id)
            words.add(example.word.lower())
        picked = (fresh + repeated)[:_EXAMPLES]
        return tuple(sorted(picked, key=lambda example: -example.weight))


def passage(text: str, start: int, end: int) -> str:
    """The characters [start, end) with some eighty on either side, cut between words, on one line."""
    left, right = max(0, start - _PASSAGE_MARGIN), min(len(text), end + _PASSAGE_MARGIN)
    if left > 0:
        left = max(text.find(" ", left, start) + 1, left)
    if right < len(text):
        space = text.rfind(" ", end, right)
        right = space if space > 0 else right
    cut = " ".join(text[left:right].split())
    return ("… " if left > 0 else "") + cut + (" …" if right < len(text) else "")


class _Candidate(NamedTuple):
    first: int
    second: int
    score: float
    log_odds: float


def _strongest(
    table: EvidenceTable, scores: NDArray[np.float64], content: NDArray[np.bool_]
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """For each latent of the table the entries with the largest positive scores, largest first.

    A pair met less than thrice is left out: it says no more than its words. Where function words and signs fill the
    list, the best content words take the last places.
    """
    order = np.lexsort((-scores, table.latents))
    order = order[(scores[order] > 0) & ((table.second[order] < 0) | (table.masses[order] >= _LEAST_PAIR))]
    latents, starts = np.unique(table.latents[order], return_index=True)
    ends = np.append(starts[1:], len(order))
    for latent, start, end in zip(latents.tolist(), starts.tolist(), ends.tolist()):
        entries = order[start:end]
        best, rest = entries[:_EVIDENCE], entries[_EVIDENCE:]
        if not content[table.first[best]].any():
            rest = rest[content[table.first[rest]]][:_EXAMPLES]
            best = np.concatenate([best[: _EVIDENCE - len(rest)], rest])
        yield latent, best


def _choose(candidates: list[_Candidate], content: NDArray[np.bool_], most: int) -> list[_Candidate]:
    """The label's words: the best content words that share nothing with a better one; none where there is no such word.

    A pair takes the place of its better word when it is half as particular. What is less than a tenth as particular as
    the best content word is left out.
    """
    words = [candidate for candidate in candidates if candidate.second < 0 and content[candidate.first]]
    pairs = [candidate for candidate in candidates if candidate.second >= 0]
    chosen: list[_Candidate] = []
    taken: set[int] = set()
    for word in words:
        if len(chosen) == most or word.score < words[0].score / 10:
            break
        if word.first in taken:
            continue
        better = (pair for pair in pairs if word.first in pair[:2] and taken.isdisjoint(pair[:2]))
        pair = next(better, word)
        chosen.append(pair if pair.score > word.score / 2 else word)
        taken.update(chosen[-1][:2])
    return chosen


def _spell(candidate: _Candidate, names: dict[int, str]) -> str:
    first = names[candidate.first]
    if candidate.second < 0:
        return first
    second = names[candidate.second]
    return first + second if is_unspaced(second[0]) and is_unspaced(first[-1]) else f"{first} {second}"
