"""Corpus statistics over an encoder's latents: counted with the latents as they are now, then frozen."""

from __future__ import annotations

from saelex.encoder.encoder import Encoder
from saelex.encoder.weighting import LatentWeighting, WeightingSettings
from saelex.progress import counted
from saelex.training.text_reading import read_texts
from saelex.training.text_settings import TextData


def weigh_latents(encoder: Encoder, data: TextData, settings: WeightingSettings, *, progress: bool = False) -> None:
    """Give the encoder BM25 over latents, its statistics those of some texts, in place of the weighting that it has.

    data: the texts, read as passages, whole and before any Top-K. Raises InputError where there is none.
    """
    encoder.weighting = None  # activations are counted, not weights
    texts = counted(read_texts(data), desc="statistics", unit="text", shown=progress)
    encoder.weighting = LatentWeighting.fit(encoder.encode_stream(texts, top_k=None), settings)
