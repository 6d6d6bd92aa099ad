"""Are the labels true? A label is judged by prediction: does it tell texts in which its latent fires from others?

The reader of a label is played by its evidence: a held-out text scores the sum of the strengths of the evidence words
it has. The control gives every latent the evidence of another one: labels that say nothing of their latent stay there.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.concepts.concept import Concept
from saelex.concepts.evidence import Terms
from saelex.concepts.labels import Firing
from saelex.encoder.words.languages import DEFAULT_LANGUAGE
from saelex.errors import InputError


class Judgement(NamedTuple):
    """How well one latent's evidence predicts its firing on balanced held-out texts."""

    latent: int
    label: str
    auc: float
    """Chance that a text in which it fires scores above one in which it does not; ties count half."""
    precision: float
    """Share of firing texts in the better-scoring half; ties are drawn by lot. 0.5 is chance."""
    control_auc: float
    """The AUC of another latent's evidence."""
    texts: int
    """Held-out texts used, half of them firing."""


class _Fired(NamedTuple):
    """Which texts each latent fires in: latent i in texts[indptr[i]:indptr[i + 1]], of n_texts."""

    indptr: NDArray[np.int64]
    texts: NDArray[np.int64]
    n_texts: int


@dataclass(frozen=True)
class LabelReport:
    """Judgements of a sample of latents."""

    judgements: list[Judgement]
    n_texts: int

    @property
    def auc(self) -> float:
        """Mean AUC of the labels."""
        return float(np.mean([judged.auc for judged in self.judgements]))

    @property
    def precision(self) -> float:
        """Mean precision at the base rate of one half."""
        return float(np.mean([judged.precision for judged in self.judgements]))

    @property
    def control_auc(self) -> float:
        """Mean AUC under exchanged labels: about 0.5."""
        return float(np.mean([judged.control_auc for judged in self.judgements]))

    def __str__(self) -> str:
        better = np.mean([judged.auc > judged.control_auc for judged in self.judgements])
        return (
            f"labels of {len(self.judgements)} latents judged on {self.n_texts} held-out texts: AUC {self.auc:.3f} "
            f"(exchanged labels {self.control_auc:.3f}), precision {self.precision:.3f} at base rate 0.5, "
            f"{better:.0%} better than an exchanged label"
        )


def held_out(document_id: str, share: float = 0.2) -> bool:
    """Whether a document belongs to the part on which labels are judged, never derived: decided by its id alone."""
    return zlib.crc32(document_id.encode("utf-8", "surrogatepass")) < share * 2**32


def judge_labels(
    concepts: Iterable[Concept],
    firings: Iterable[Firing],
    *,
    language: str = DEFAULT_LANGUAGE,
    sample: int = 500,
    most_texts: int = 100,
    least_texts: int = 5,
    seed: int = 0,
) -> LabelReport:
    """Judge a random sample of concepts on held-out firings: texts that did not serve to derive them.

    Of the texts in which a latent fires, and of the others, equally many are drawn, at most `most_texts` of each.
    Latents that fire in fewer than `least_texts` texts, or leave fewer silent, are not judged. Raises InputError when
    fewer than two can be.
    """
    random = np.random.default_rng(seed)
    known = {concept.latent: concept for concept in concepts if concept.evidence}
    terms = Terms(language)
    fired, words = _read(firings, terms, max(known, default=0) + 1)
    counts = np.diff(fired.indptr)
    fit = [i for i in known if least_texts <= counts[i] <= fired.n_texts - least_texts]
    if len(fit) < 2:
        raise InputError(
            f"labels: too few held-out texts ({fired.n_texts}) to judge any; give more, or ask for fewer per latent"
        )
    chosen = [known[i] for i in random.permutation(np.sort(fit))[:sample].tolist()]
    scores = _scores(words, chosen, terms)
    judgements = []
    for column, concept in enumerate(chosen):
        active = np.zeros(fired.n_texts, np.bool_)
        active[fired.texts[fired.indptr[concept.latent] : fired.indptr[concept.latent + 1]]] = True
        texts = _balanced(active, most_texts, random)
        own, other = scores[texts, column], scores[texts, column - 1]
        auc, precision = _auc(own, active[texts]), _precision(own, active[texts], random)
        control = _auc(other, active[texts])
        judgements.append(Judgement(concept.latent, concept.label, auc, precision, control, len(texts)))
    return LabelReport(sorted(judgements), fired.n_texts)


def _read(firings: Iterable[Firing], terms: Terms, n_latents: int) -> tuple[_Fired, list[NDArray[np.int64]]]:
    """Which latents fire in which text, and the keys of each text's words and pairs."""
    words, texts, latents = [], list[NDArray[np.int64]](), list[NDArray[np.int64]]()
    for number, firing in enumerate(firings):
        tokens = terms.split(firing.text)
        pairs = _key(tokens.terms[:-1], tokens.terms[1:])
        whole = terms.split(firing.text, firing.token_spans)
        words.append(np.unique(np.concatenate([_key(tokens.terms), pairs, _key(whole.terms)])))
        inside = firing.latents[firing.latents < n_latents].astype(np.int64)
        texts.append(np.full(len(inside), number))
        latents.append(inside)
    row, column = (np.concatenate([np.zeros(0, np.int64), *parts]) for parts in (texts, latents))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(column, minlength=n_latents))]).astype(np.int64)
    return _Fired(indptr, row[np.argsort(column, kind="stable")], len(words)), words


def _key(first: NDArray[np.int64], second: NDArray[np.int64] | int = -1) -> NDArray[np.int64]:
    """One number for a term, or for a pair of neighbours."""
    return (first << 31) + second + 1


def _scores(words: Sequence[NDArray[np.int64]], concepts: Sequence[Concept], terms: Terms) -> NDArray[np.float64]:
    """Evidence found in each text, [texts, concepts]."""
    strengths: dict[tuple[int, int], float] = {}
    numbers: dict[int, int] = {}
    for column, concept in enumerate(concepts):
        for evidence in concept.evidence:
            parts = terms.split(evidence.word).terms
            if len(parts) > 2:  # of a script without spaces, in which words of a corpus of several languages are whole
                parts = terms.split(evidence.word, [(0, len(evidence.word))]).terms
            key = int(_key(parts[:1], parts[1] if len(parts) > 1 else -1)[0])
            strengths[numbers.setdefault(key, len(numbers)), column] = evidence.strength
    weights = np.zeros((len(numbers), len(concepts)))
    for (number, column), strength in strengths.items():
        weights[number, column] = strength
    found = ([numbers[key] for key in text.tolist() if key in numbers] for text in words)
    return np.array([weights[text].sum(axis=0) for text in found]).reshape(len(words), len(concepts))


def _balanced(active: NDArray[np.bool_], most: int, random: np.random.Generator) -> NDArray[np.int64]:
    firing, silent = np.flatnonzero(active), np.flatnonzero(~active)
    n = min(most, len(firing), len(silent))
    return np.concatenate([random.choice(firing, n, replace=False), random.choice(silent, n, replace=False)])


def _auc(scores: NDArray[np.float64], active: NDArray[np.bool_]) -> float:
    """Area under the ROC curve, by ranks (Mann-Whitney); ties count half."""
    _, which, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[which]
    n = int(active.sum())
    return float((ranks[active].sum() - n * (n + 1) / 2) / (n * (len(active) - n)))


def _precision(scores: NDArray[np.float64], active: NDArray[np.bool_], random: np.random.Generator) -> float:
    """Precision among as many best-scoring texts as there are active ones."""
    order = np.lexsort((random.random(len(scores)), -scores))
    return float(active[order[: int(active.sum())]].mean())
