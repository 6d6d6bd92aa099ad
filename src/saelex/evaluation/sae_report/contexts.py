"""Where each latent fires most strongly: the tokens, and what stands around them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saelex.encoder.tokens import TextTokenizer

_SPACE = re.compile(r"\s+")
_MARGIN = 60  # characters of text shown on either side of a token


class Firing(NamedTuple):
    """One token at which a latent fires."""

    activation: float
    text: int
    """Place of the text in the stream, from 0."""
    position: int
    """Index of the token in its text's tokens, special ones counted."""


class Context(NamedTuple):
    """A firing in words."""

    activation: float
    before: str
    token: str
    after: str


class TopFirings:
    """The strongest firings of every latent, each in a text of its own; of equals, those of earlier texts.

    Holds at most `kept` per latent, and as many again (but at least a quarter of a million) that wait to be merged.
    """

    def __init__(self, n_latents: int, kept: int) -> None:
        self.kept = kept
        self._least = np.zeros(n_latents, np.float32)  # activation that a firing must exceed to be among the strongest
        self._held = _Firings.empty()
        self._waiting: list[_Firings] = []
        self._patience = max(1 << 18, n_latents * kept)

    def observe(self, latents: Tensor, texts: Tensor, positions: Tensor) -> None:
        """latents: [tokens, n_latents]; texts, positions: int [tokens], which token of which text each row is."""
        rows, columns = torch.nonzero(latents > 0, as_tuple=True)  # [firings] each
        activations = latents[rows, columns].float().cpu()
        rows = rows.cpu()
        fired = _Firings(*(column.numpy() for column in (columns.cpu(), activations, texts[rows], positions[rows])))
        self._waiting.append(fired.where(fired.activations > self._least[fired.latents]))
        if sum(len(part.latents) for part in self._waiting) > self._patience:
            self._merge()

    def of(self, latents: Iterable[int]) -> dict[int, list[Firing]]:
        """The strongest firings of some latents, strongest first."""
        self._merge()
        held, found = self._held, {}
        for latent in latents:
            start, end = np.searchsorted(held.latents, [latent, latent + 1])
            columns = (held.activations, held.texts, held.positions)
            found[latent] = [Firing(*row) for row in zip(*(column[start:end].tolist() for column in columns))]
        return found

    def _merge(self) -> None:
        every = _Firings(*(np.concatenate(columns) for columns in zip(self._held, *self._waiting)))
        self._waiting = []
        every = every.where(np.lexsort((every.positions, -every.activations, every.texts, every.latents)))
        first = np.ones(len(every.latents), np.bool_)  # of its latent and text
        first[1:] = (np.diff(every.latents) != 0) | (np.diff(every.texts) != 0)
        every = every.where(first)
        every = every.where(np.lexsort((every.texts, -every.activations, every.latents)))
        starts = np.searchsorted(every.latents, every.latents)
        rank = np.arange(len(every.latents)) - starts
        self._held = every.where(rank < self.kept)
        last = rank == self.kept - 1
        self._least[every.latents[last]] = every.activations[last]


class _Firings(NamedTuple):
    """Parallel arrays; held sorted by latent, then from the strongest on."""

    latents: NDArray[Any]  # int64 [firings], as texts and positions
    activations: NDArray[Any]  # float32
    texts: NDArray[Any]
    positions: NDArray[Any]

    @classmethod
    def empty(cls) -> _Firings:
        none = np.zeros(0, np.int64)
        return cls(none, np.zeros(0, np.float32), none, none)

    def where(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> _Firings:
        return _Firings(*(column[which] for column in self))


def in_words(
    firings: Mapping[int, list[Firing]], texts: Iterable[str], tokenizer: TextTokenizer
) -> dict[int, list[Context]]:
    """The firings with the text around them. texts: the stream that `Firing.text` counts, walked once more."""
    wanted = {firing.text for found in firings.values() for firing in found}
    read: dict[int, tuple[str, list[tuple[int, int]]]] = {}
    last = max(wanted, default=-1)
    for number, text in enumerate(islice(texts, last + 1)):
        if number in wanted:
            read[number] = (text, tokenizer.spans(text, "document"))
    return {latent: [_context(firing, *read[firing.text]) for firing in found] for latent, found in firings.items()}


def _context(firing: Firing, text: str, spans: list[tuple[int, int]]) -> Context:
    start, end = spans[firing.position]
    left, right = max(0, start - _MARGIN), min(len(text), end + _MARGIN)
    if left > 0:  # between words, where there are spaces
        left = max(left, text.find(" ", left, start) + 1)
    if right < len(text):
        right = text.rfind(" ", end, right) if " " in text[end:right] else right
    return Context(
        firing.activation,
        ("… " if left > 0 else "") + _one_line(text[left:start]),
        _one_line(text[start:end]) or "∅",  # a special token of the model stands for no characters
        _one_line(text[end:right]) + (" …" if right < len(text) else ""),
    )


def _one_line(text: str) -> str:
    return _SPACE.sub(" ", text)
