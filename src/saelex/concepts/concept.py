"""Concept: what can be said of a latent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

SEPARATOR = " · "
CONTEXT_MARK = " (context)"
"""Ends the label of a latent that fires at function words or signs: the label's words are those around."""
WORD_PREFIX = "word:"
"""Begins the name of an exact word where concepts are named, too."""

Source = Literal["derived", "user"]


class Evidence(NamedTuple):
    """A word (or a pair of neighbouring words) that speaks for a latent."""

    word: str
    """As texts most often spell it."""
    strength: float
    """How particular it is to the latent: log-odds in standard deviations."""


class Example(NamedTuple):
    """A passage in which a latent fired strongly."""

    document_id: str
    passage: str
    word: str
    """The word at which it fired."""
    weight: float


@dataclass(frozen=True)
class Concept:
    """A latent's label and what it rests on."""

    latent: int
    label: str
    """One to three words, as in "wing · airfoil · aerodynamic"."""
    evidence: tuple[Evidence, ...]
    """Strongest first; the label's words are among them."""
    examples: tuple[Example, ...]
    density: float
    """Share of the documents in which the latent fires."""
    mean_weight: float
    """Mean weight over the documents in which it fires."""
    source: Source = "derived"
    """Who named it: the corpus, or a user, whose label stays when labels are derived again."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Language -> the label from texts in that language alone, where a corpus of several shows enough; or the user's
    own. "zh" -> "机翼 · 升力"."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values; "labels" only where there are some."""
        values = asdict(self) | {
            "evidence": [row._asdict() for row in self.evidence],
            "examples": [row._asdict() for row in self.examples],
        }
        return {key: value for key, value in values.items() if value or key != "labels"}
