"""Concept: what can be said of a latent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from saelex.sae.config import NEURONPEDIA

SEPARATOR = " · "
CONTEXT_MARK = " (context)"
"""Ends the label of a latent that fires at function words or signs: the label's words are those around."""
WORD_PREFIX = "word:"
"""Begins the name of an exact word where concepts are named, too."""

LONGEST_LABEL = 200
"""Characters."""
UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What ends lines, commands a terminal, turns the direction of the text around it, or is half a character."""

Source = Literal["derived", "published", "user"]


def one_line(text: str, longest: int = LONGEST_LABEL) -> str:
    """A stranger's text as a label may be: one line, nothing that is not shown, not read as an exact word, cut to so
    many characters; "" where nothing is left of it."""
    line = " ".join(UNSHOWN.sub(" ", text[: 20 * longest]).split())
    while line.startswith(WORD_PREFIX):
        line = line.removeprefix(WORD_PREFIX).lstrip()
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


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


class Published(NamedTuple):
    """What Neuronpedia shows of a latent as its explanation."""

    text: str
    """One line, most often written by a language model that saw where the latent fires in general text."""
    author: str
    """The model that wrote it; "" where that is not told."""
    source: str
    """Neuronpedia's "model/source", in which latents have the numbers that they have here."""

    def page(self, latent: int) -> str:
        """Where it is shown, with the texts in which the latent fires."""
        return f"{NEURONPEDIA}{self.source}/{latent}"


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
    """Who gave the label: the corpus, or a user, whose label stays when labels are derived again; or Neuronpedia, where
    the corpus shows nothing of the latent."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Language -> the label from texts in that language alone, where a corpus of several shows enough; or the user's
    own. "zh" -> "机翼 · 升力"."""
    published: Published | None = None
    """What others say of it, beside the label."""

    @property
    def shown(self) -> str:
        """The label that readers see: a user's, else what is published, else the corpus's."""
        return self.label if self.published is None or self.source == "user" else self.published.text

    def to_json(self) -> dict[str, Any]:
        """As JSON values; "labels" and "published" only where there are some."""
        values = asdict(self) | {
            "evidence": [row._asdict() for row in self.evidence],
            "examples": [row._asdict() for row in self.examples],
            "published": self.published and self.published._asdict(),
        }
        return {key: value for key, value in values.items() if value or key not in ("labels", "published")}
