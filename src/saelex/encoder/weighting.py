"""LatentWeighting: BM25 over latents, the weighting that needs no retrieval labels.

Latent Terms (arXiv 2605.29384) reads the pooled activations of a plain SAE as term frequencies. What a latent is worth
is then a matter of corpus statistics: counted once, frozen in the model folder, part of the encoder's fingerprint.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.words.bm25 import Bm25Statistics, check_bm25
from saelex.errors import InputError, MismatchError
from saelex.files import expanded, replacing
from saelex.reading.json_object import JsonObject, parse_json, settings_from
from saelex.reading.tensors import SafetensorsFile
from saelex.vectors import SparseRows

FILE_NAME = "weighting.safetensors"
FORMAT = "saelex-weighting/1"


@dataclass(frozen=True)
class WeightingSettings:
    """How activations become weights. Raises InputError for values without meaning."""

    k1: float | None = 1.2
    """Saturation of a document's activations: a / (a + k1 · length norm); None leaves them linear."""
    b: float = 0.75
    """How far a document's activations are divided by its relative length: 0 not at all, 1 wholly."""
    query_k1: float | None = None
    """Saturation of a query's activations: a / (a + query_k1); None leaves them linear."""
    idf_power: float = 1.0
    """Exponent of the idf in the score; each side carries the power of half of it. 0 turns the idf off."""
    idf_floor: float = 0.0
    """An idf below this counts as this."""
    max_df: float = 1.0
    """Latents active in a larger share of the documents are dropped: they say nothing of a text."""

    def __post_init__(self) -> None:
        check_bm25(self.k1, self.b)
        check_bm25(self.query_k1, 0.0)
        if self.idf_power < 0 or self.idf_floor < 0:
            raise InputError("weighting: idf_power and idf_floor must not be negative")
        if not 0 < self.max_df <= 1:
            raise InputError(f"weighting: max_df is a share of the documents, above 0 and at most 1, not {self.max_df}")


@dataclass(frozen=True, eq=False)
class LatentWeighting:
    """Frozen statistics of latents and the settings that make weights of them.

    Rows go in after pooling and saturation, whole (before any Top-K: a row's length is the sum of all its activations),
    and come out with the same token positions. `dataclasses.replace(weighting, settings=...)` tries other settings on
    the same statistics.
    """

    statistics: Bm25Statistics
    settings: WeightingSettings = WeightingSettings()

    @classmethod
    def fit(cls, chunks: Iterable[SparseRows], settings: WeightingSettings | None = None) -> LatentWeighting:
        """Count the statistics over the documents' rows. Raises InputError when there is no document."""
        return cls(Bm25Statistics.count(chunks), settings or WeightingSettings())

    @property
    def n_latents(self) -> int:
        """Number of latents the statistics cover."""
        return len(self.statistics.document_frequencies)

    def document(self, rows: SparseRows) -> SparseRows:
        """The documents' weights: saturated, divided by length, times the document's half of the idf."""
        tf = self.statistics.term_frequency(rows, self.settings.k1, self.settings.b)
        return self._weighted(rows, tf)

    def query(self, rows: SparseRows) -> SparseRows:
        """The queries' weights: activations (saturated where query_k1 is set) times the query's half of the idf."""
        activations = rows.weights.astype(np.float64)
        if self.settings.query_k1 is not None:
            activations = activations / (activations + self.settings.query_k1)
        return self._weighted(rows, activations)

    def _weighted(self, rows: SparseRows, values: NDArray[np.float64]) -> SparseRows:
        if rows.n_latents != self.n_latents:
            raise MismatchError(
                f"weighting: made for {self.n_latents} latents, got rows with {rows.n_latents}; use the encoder it "
                "came with, or fit it again"
            )
        share = self.idf_share()[rows.latents]
        weighted = rows.with_weights(values * share)
        return weighted if self.settings.max_df == 1 else weighted.keep(share > 0)

    def idf_share(self) -> NDArray[np.float64]:
        """Each side's half of every latent's idf, [latents]; 0 for latents that max_df drops."""
        return self._idf_share

    @cached_property
    def _idf_share(self) -> NDArray[np.float64]:
        latents = np.arange(self.n_latents)
        share = np.maximum(self.statistics.idf(latents), self.settings.idf_floor) ** (self.settings.idf_power / 2)
        dropped = self.statistics.frequency(latents) > self.settings.max_df * self.statistics.n_documents
        return np.where(dropped, 0.0, share)

    def save(self, folder: str | Path) -> None:
        """Write `weighting.safetensors` into the folder, whole or not at all."""
        from safetensors.numpy import save

        header: dict[str, Any] = {
            "settings": dataclasses.asdict(self.settings),
            "n_documents": self.statistics.n_documents,
            "mean_length": self.statistics.mean_length,
        }
        arrays = {"document_frequencies": self.statistics.document_frequencies}
        data = save(arrays, metadata={"format": FORMAT, "weighting": json.dumps(header)})
        with replacing(expanded(folder) / FILE_NAME) as temporary:
            temporary.write_bytes(data)

    @classmethod
    def load(cls, folder: str | Path) -> LatentWeighting:
        """Read what `save` wrote. Raises InputError for a missing, damaged or foreign file."""
        path = expanded(folder) / FILE_NAME
        file = SafetensorsFile(path)
        if (written := file.metadata.get("format")) != FORMAT:
            raise InputError(f"{path}: not a saved latent weighting of {FORMAT!r} (format {written!r:.60})")
        header = parse_json(file.metadata.get("weighting", ""), path)
        if not isinstance(header, dict) or "document_frequencies" not in file:
            raise InputError(f"{path}: not a saved latent weighting; fetch or save the model again")
        values = JsonObject(header, path)
        n_documents = values.whole("n_documents", least=1)
        frequencies = file.array("document_frequencies").astype(np.int64)
        if frequencies.ndim != 1 or np.any((frequencies < 0) | (frequencies > n_documents)):
            raise InputError(f"{path}: document_frequencies are not counts of {n_documents} documents; save it again")
        if (mean_length := values.number("mean_length")) < 0:
            raise values.wrong("mean_length", "a length")
        statistics = Bm25Statistics(frequencies, n_documents, mean_length)
        return cls(statistics, settings_from(WeightingSettings, values.object("settings")))
