"""Float weights to the integers that are stored and added up, and back to scores.

One step for the whole index, set before its first document where there is an encoder to ask: weight = integer * step. A
query gets a step of its own, as fine as the sums allow. A
score is an integer sum times both steps, so ties are exact and any split into segments gives the same hits.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.errors import InputError
from saelex.index.engine import Limits, check_weights
from saelex.index.kernels.arrays import ForwardRows, Weights
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    from saelex.index.text_encoder import TextEncoder

logger = logging.getLogger(__name__)

_PROBE = (
    "The Eiffel Tower was built for the world's fair of 1889 and is the tallest building in Paris.",
    "How do wings create lift? Air pressure above a moving wing is lower than the pressure below it.",
    "def read(path):  # return the lines of a text file as a list of strings",
    "Patients with diabetes were treated with insulin; blood glucose and weight were measured every month.",
    "Der Fluss führt im Frühjahr Hochwasser, weil der Schnee in den Bergen schmilzt.",
    "El banco central subió los tipos de interés para frenar la inflación.",
    "水は摂氏百度で沸騰する。 北京是中国的首都。",
    "Москва - столица России.",
)
"""Texts that tell how heavy an encoder's weights are. With the index's own, scores would depend on which came first."""

NO_POSITION = 65535
"""Stored where a weight does not come from one token, or from a token beyond what 16 bits can name."""

_LARGEST_SUM = 2**31 - 1  # the kernels add up in int32
_HEADROOM = {8: 1.0, 16: 4.0}  # 14 bits are plenty for the first documents' weights; later ones may be 4 times as heavy


def token_positions(stored: NDArray[np.uint16]) -> NDArray[np.int32]:
    """Positions as SparseRows has them: -1 where there is none."""
    return np.where(stored == NO_POSITION, -1, stored.astype(np.int32))


def limits_of(bits: int) -> Limits:
    """What integers cap: nothing, but they are off by half a step (see `Quantiser`).

    document_error holds up to the heaviest integer: with 8 bits for weights no heavier than those of the first commit,
    with 16 bits for weights 4 times as heavy. query_error holds for queries of up to 16,000 latents.
    """
    return Limits(document_error=_HEADROOM[bits] / 2 / (2**bits - 1), query_error=2**-15)


class QuantisedQuery(NamedTuple):
    """One query in integers: weight = integer * step."""

    latents: NDArray[np.int32]  # [non-zeros], ascending
    weights: NDArray[np.int32]  # [non-zeros], not 0
    step: float


@dataclass(frozen=True)
class Quantiser:
    """The index's integers. step: the weight of integer 1; bits: 8 or 16 a stored weight.

    Rounding moves a weight by at most step / 2. On the synthetic collection of benchmarks/index.py (200,000 documents,
    300 latents each, 40 a query) a score of 16 bits differs from the float score by 1e-4 of itself on average (at most
    5e-4; recall@10 1.0), one of 8 bits by 1e-3 (at most 4e-3; 0.995); 8 bits take a sixth less disk.
    """

    step: float
    bits: int = 16

    @classmethod
    def for_weights(cls, weights: NDArray[np.float32], bits: int) -> Quantiser:
        """Steps that fit the weights of the first documents; with 16 bits heavier ones may follow."""
        heaviest = float(weights.max(initial=0.0))
        return cls((heaviest or 1.0) * _HEADROOM[bits] / (2**bits - 1), bits)

    @classmethod
    def for_encoder(cls, encoder: TextEncoder, bits: int, *, words: bool) -> Quantiser | None:
        """Steps that fit what an encoder gives for a few fixed texts, and words where there are any; None for nothing.

        The heaviest weight is rounded up to a power of two: its last bits are not the same on every machine.
        """
        heaviest = max(float(encoder.encode_document(_PROBE).weights.max(initial=0.0)), float(words))
        if not heaviest:
            return None
        return cls.for_weights(np.array([2.0 ** np.ceil(np.log2(heaviest))], np.float32), bits)

    @property
    def top(self) -> int:
        """The largest integer that can be stored."""
        return int(2**self.bits) - 1

    def documents(self, rows: SparseRows) -> ForwardRows:
        """The rows in integers; weights that round to 0 are left out, weights above the top become the top.

        Raises InputError for a weight that is negative or not finite, and for a latent outside the columns.
        """
        check_weights(rows)
        weights = rows.weights
        integers = np.rint(weights * np.float32(1 / self.step))
        if integers.size and integers.max() > self.top:
            n_clipped = int((integers > self.top).sum())
            np.minimum(integers, self.top, out=integers)
            logger.warning(
                "%d weights lie above %g, the heaviest this index can hold, and were cut to it; "
                "an index whose first documents are those has a larger step",
                n_clipped,
                self.top * self.step,
            )
        kept = integers > 0
        whole = bool(kept.all())
        dtype = np.uint8 if self.bits == 8 else np.uint16
        quantised: Weights = (integers if whole else integers[kept]).astype(dtype)
        indptr = rows.indptr if whole else np.concatenate([[0], np.cumsum(kept)])[rows.indptr].astype(np.int64)
        latents = rows.latents if whole else rows.latents[kept]
        positions = None
        if rows.positions is not None:
            named = rows.positions if whole else rows.positions[kept]
            positions = np.where((named < 0) | (named > NO_POSITION), NO_POSITION, named).astype(np.uint16)
        return ForwardRows(indptr, latents, quantised, positions)

    def query(self, latents: NDArray[np.int32], weights: NDArray[np.float32]) -> QuantisedQuery:
        """A query in integers, with the finest step at which no document's sum can overflow 32 bits.

        Weights may be negative (steering against a concept). Raises InputError for one that is not finite.
        """
        wide = weights.astype(np.float64)
        sizes = np.abs(wide)
        total, heaviest = float(sizes.sum()), float(sizes.max(initial=0.0))
        if not np.isfinite(total):
            raise InputError("query vector: weights must be finite")
        if not total:
            return QuantisedQuery(latents[:0], np.zeros(0, np.int32), 1.0)
        # rounding adds up to half a unit a latent to the sum, so leave room for it
        levels = (_LARGEST_SUM // self.top - len(latents)) * heaviest / total
        step = heaviest / max(1.0, min(levels, float(2**16 - 1)))
        integers = np.rint(wide / step).astype(np.int32)
        kept = integers != 0
        return QuantisedQuery(latents[kept], integers[kept], step)
