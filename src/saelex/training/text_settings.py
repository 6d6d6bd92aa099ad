"""Sections that several recipes share: which texts are read, and how they become token states."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class TextData:
    """Which texts are read."""

    corpora: list[str] = field(default_factory=list)
    """Corpora to train on, in any form that `read_corpus` takes. They are read in turns, a document of each."""
    exclude: list[str] = field(default_factory=list)
    """Corpora whose texts are left out wherever they occur, such as those of a test set."""
    max_texts: int | None = None
    """Stop after so many texts; null reads all."""


@dataclass(frozen=True)
class TokenStates:
    """How texts become token states."""

    prompt: str = ""
    """Put in front of every text."""
    max_length: int | None = 256
    """Tokens of a text, special ones counted; null is the backbone's limit."""
    mask_special_tokens: bool = True
    """Leave [CLS], [SEP], BOS and the like out: they are not words, and a BOS state is an outlier."""
    sink_norm: float | None = None
    """Leave out tokens whose state has a larger norm (attention sinks); null leaves none out."""
    token_budget: int = 16_384
    """Padded tokens per forward pass."""
    cache: Literal["none", "memory", "disk"] = "memory"
    """Keep states in float16 instead of running the backbone again in every pass; disk survives the run."""
    device: str = "cpu"
    """Where the backbone runs."""
    dtype: str | None = None
    """Of the backbone's weights; null keeps the checkpoint's."""
