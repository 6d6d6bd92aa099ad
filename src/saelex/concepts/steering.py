"""Steering: boost, ban and add concepts (or words) in a query's vector, after its Top-K."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from saelex.concepts.concept import WORD_PREFIX
from saelex.concepts.store import ConceptStore
from saelex.encoder.words.channel import LexicalChannel
from saelex.errors import InputError
from saelex.vectors import SparseRows

_ID = re.compile(r"(?:#|latent )?([0-9]+)", re.IGNORECASE)
Resolve = Callable[[str], list[int]]


@dataclass(frozen=True)
class Steering:
    """What to change in a query's vector, by latent id (word dimensions count on after the latents).

    Raises InputError for a number that means nothing, or for a latent named in two ways.
    """

    boost: Mapping[int, float] = field(default_factory=dict)
    """Latent -> factor on the query's weight. A latent the query lacks gets factor times the query's median weight."""
    ban: frozenset[int] = frozenset()
    """Latents that must not count."""
    add: Mapping[int, float] = field(default_factory=dict)
    """Latent -> weight, in place of the query's own."""

    def __post_init__(self) -> None:
        for verb, numbers in (("boost", self.boost), ("add", self.add)):
            for latent, number in numbers.items():
                if not 0 < number < math.inf:
                    raise InputError(f"{verb} {latent}: {number} is not a positive number; to leave it out, ban it")
        twice = (self.boost.keys() & self.add.keys()) | ((self.boost.keys() | self.add.keys()) & self.ban)
        if twice:
            raise InputError(f"steering: latent {min(twice)} is named in more than one of boost, ban and add")

    @classmethod
    def parse(
        cls, boost: Iterable[str], ban: Iterable[str], add: Iterable[str], resolve: Callable[[str], list[int]]
    ) -> Steering:
        """From what a user writes: "aviation=2", "4711", "word:lift=0.5".

        resolve gives the latents a name stands for (`resolver` makes one); the number is for each of them. Without one
        a boost doubles; an added latent needs one. Raises InputError for a name or number that cannot be read.
        """
        boosted = {latent: factor for text in _each(boost) for latent, factor in _numbered(text, resolve, default=2.0)}
        added = {latent: weight for text in _each(add) for latent, weight in _numbered(text, resolve, default=None)}
        return cls(boosted, frozenset(latent for text in _each(ban) for latent in resolve(text.strip())), added)

    def __bool__(self) -> bool:
        return bool(self.boost or self.ban or self.add)

    def apply(self, rows: SparseRows) -> SparseRows:
        """The steered query. rows: one row [1, latents (+ words)]; latents it gains have position -1.

        Raises InputError for a latent outside the row's columns.
        """
        if len(rows) != 1:
            raise InputError(f"steering changes one query at a time, not {len(rows)}")
        named = {*self.boost, *self.ban, *self.add}
        if named and not 0 <= min(named) <= max(named) < rows.n_latents:
            wrong = next(latent for latent in sorted(named) if not 0 <= latent < rows.n_latents)
            raise InputError(f"steering: no latent {wrong}; they run from 0 to {rows.n_latents - 1}")
        weights = rows.to_dicts()[0]
        positions = {} if rows.positions is None else dict(zip(rows.latents.tolist(), rows.positions.tolist()))
        usual = float(np.median(rows.weights)) if rows.n_nonzero else 1.0
        steered = {latent: weight for latent, weight in weights.items() if latent not in self.ban}
        steered |= {latent: factor * weights.get(latent, usual) for latent, factor in self.boost.items()}
        steered |= self.add
        latents = sorted(steered)
        with np.errstate(over="ignore"):  # a weight that is not finite is refused where the query is read
            changed = np.array([steered[latent] for latent in latents], np.float32)
        return SparseRows(
            np.array([0, len(latents)], np.int64),
            np.array(latents, np.int32),
            changed,
            rows.n_latents,
            None if rows.positions is None else np.array([positions.get(i, -1) for i in latents], np.int32),
        )

    @property
    def notes(self) -> dict[int, str]:
        """A word for the explanation beside every latent that was changed and not banned."""
        boosts = {latent: f"boost x{factor:g}" for latent, factor in self.boost.items()}
        return boosts | {latent: f"added at {weight:g}" for latent, weight in self.add.items()}


def resolver(n_latents: int, concepts: ConceptStore | None = None, words: LexicalChannel | None = None) -> Resolve:
    """What names mean: an id ("4711", "#4711"), a label ("aviation", or in quotes where it is a number), "word:lift".

    The function returned raises InputError for a name that means nothing here, or too much.
    """

    def resolve(name: str) -> list[int]:
        name = name.strip()
        if not name:
            raise InputError("steering: an empty name; give a label, an id as in #4711, or word:NAME")
        if name.startswith(WORD_PREFIX):
            found = [] if words is None else words.find(name[len(WORD_PREFIX) :])
            if not found:
                why = "the index was made without words" if words is None else "no document has it"
                raise InputError(f"{name!r}: {why}; name a concept instead")
            return [n_latents + dimension for dimension in found]
        if number := _ID.fullmatch(name):
            latent = int(number[1][:12])  # no index has so many latents, and thousands of digits are no integer
            if latent >= n_latents:
                raise InputError(f"no latent {number[1]:.12}; they run from 0 to {n_latents - 1}")
            return [latent]
        if concepts is None:
            raise InputError(f"{name!r}: this index has no labels; make them with `saelex label`, or give latent ids")
        quoted = len(name) > 2 and name[0] == name[-1] and name[0] in "'\""
        return concepts.resolve(name[1:-1] if quoted else name)

    return resolve


def _each(names: Iterable[str]) -> Iterable[str]:
    """A lone string is one name, not its letters."""
    return [names] if isinstance(names, str) else names


def _numbered(text: str, resolve: Resolve, default: float | None) -> list[tuple[int, float]]:
    name, equals, number = text.rpartition("=")
    if not equals:
        name, number = text, "" if default is None else str(default)
    try:
        value = float(number)
    except ValueError:
        raise InputError(f"{text!r}: write NAME=NUMBER, as in 'aviation=2' or '4711=0.5'") from None
    return [(latent, value) for latent in resolve(name.strip())]
