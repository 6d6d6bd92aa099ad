"""What a report holds, as JSON values; the page is drawn from them alone."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.backbone.backbone import Backbone
from saelex.evaluation.sae_report.contexts import Context, in_words
from saelex.evaluation.sae_report.loss_recovered import LossRecovered
from saelex.evaluation.sae_report.measuring import Measured, ReportSettings, Texts
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.metrics import Histogram, SaeSummary
from saelex.sae.model_card import REPORT, sae_facts, training_log
from saelex.training.text_batches import state_tokenizer

FORMAT = "saelex-sae-report/1"
_PACKAGES = ("saelex", "torch", "transformers", "tokenizers", "numpy", "matplotlib")
_L0_BINS = 60
_CURVE_POINTS = 400  # of a training log, evenly spaced

__all__ = ["FORMAT", "REPORT", "document", "to_json"]


def document(
    saes: Sequence[SparseAutoencoder],
    backbone: Backbone,
    texts: Texts,
    measured: Measured,
    settings: ReportSettings,
    *,
    corpora: Sequence[str],
    command: str,
) -> dict[str, Any]:
    """The report. texts: walked once more, for the words around the strongest firings of the first SAE's latents."""
    first = measured.summaries[0]
    examples, densest = _draw(first, settings), _densest(first, settings)
    firings = measured.firings.of({*examples, *densest})
    contexts = in_words(firings, texts(), state_tokenizer(backbone, settings.states))
    losses: Sequence[LossRecovered | None] = measured.losses or [None] * len(saes)
    names = _names(saes)
    return {
        "format": FORMAT,
        "saes": [
            _sae(name, sae, summary, loss) for name, sae, summary, loss in zip(names, saes, measured.summaries, losses)
        ],
        "examples": [_latent(latent, first, contexts) for latent in examples],
        "densest": [_latent(latent, first, contexts) for latent in densest],
        "backbone": {"model": backbone.model_id, "revision": backbone.revision, **_decided(backbone)},
        "texts": {
            "corpora": [Path(corpus).name for corpus in corpora],
            "texts": measured.texts,
            "tokens": first.tokens,
        },
        "settings": asdict(settings),
        "no_loss": measured.no_loss,
        "versions": {name: metadata.version(name) for name in _PACKAGES} | {"python": platform.python_version()},
        "command": command,
    }


def to_json(report: Mapping[str, Any]) -> str:
    """As strict JSON: a figure that is not a number is null."""
    return json.dumps(_finite(report), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _sae(name: str, sae: SparseAutoencoder, summary: SaeSummary, loss: LossRecovered | None) -> dict[str, Any]:
    return {
        "name": name,
        **sae_facts(sae.parts),
        "metrics": _metrics(summary),
        "density_histogram": _histogram(summary.density_histogram()),
        "l0_histogram": _histogram(_l0_histogram(summary.l0_counts)),
        "cosine_histogram": _histogram(summary.cosines),
        "error_histogram": _histogram(summary.errors),
        "loss": None if loss is None else {**asdict(loss), "recovered": loss.recovered},
        "training": _thinned(training_log(sae.config.source)),
    }


def _metrics(summary: SaeSummary) -> dict[str, float]:
    alive = summary.density[summary.density > 0]
    return {
        "tokens": summary.tokens,
        "fvu": summary.fvu,
        "cosine": summary.cosine,
        "norm_ratio": summary.norm_ratio,
        "reconstruction_bias": summary.reconstruction_bias,
        "l0": summary.l0,
        **{f"l0_p{percent}": summary.l0_percentile(percent) for percent in (5, 50, 95)},
        "dead_share": summary.dead_share,
        "dense_share": summary.dense_share,
        "dense_above": summary.dense_above,
        "median_density": float(np.median(alive)) if len(alive) else 0.0,
    }


def _l0_histogram(counts: NDArray[np.int64]) -> Histogram:
    """Tokens by their number of firing latents, in at most sixty bins of whole numbers."""
    numbers = np.flatnonzero(counts)
    low, high = int(numbers[0]), int(numbers[-1])
    width = max(1, math.ceil((high + 1 - low) / _L0_BINS))
    edges = np.arange(low, high + width + 1, width, dtype=np.float64) - 0.5
    return Histogram(edges, np.histogram(np.arange(len(counts)), edges, weights=counts)[0].astype(np.int64))


def _histogram(histogram: Histogram) -> dict[str, Any]:
    return {"edges": np.round(histogram.edges, 6).tolist(), "counts": histogram.counts.tolist()}


def _draw(summary: SaeSummary, settings: ReportSettings) -> list[int]:
    """Latents that fire, at random."""
    alive = np.flatnonzero(summary.density)
    count = min(settings.examples, len(alive))
    return sorted(np.random.default_rng(settings.seed).choice(alive, count, replace=False).tolist())


def _densest(summary: SaeSummary, settings: ReportSettings) -> list[int]:
    """Latents that fire most often, the most frequent first."""
    order = np.argsort(-summary.density, kind="stable")[: settings.densest]
    return [int(latent) for latent in order if summary.density[latent] > 0]


def _latent(latent: int, summary: SaeSummary, contexts: Mapping[int, list[Context]]) -> dict[str, Any]:
    return {
        "latent": latent,
        "density": float(summary.density[latent]),
        "mean_activation": float(summary.mean_activation[latent]),
        "contexts": [context._asdict() for context in contexts[latent]],
    }


def _decided(backbone: Backbone) -> dict[str, Any]:
    return {
        "layer": backbone.layer,
        "bidirectional": backbone.bidirectional,
        "dtype": str(backbone.dtype).removeprefix("torch."),
    }


def _names(saes: Iterable[SparseAutoencoder]) -> list[str]:
    """Short names, told apart by their folders where the last part is the same."""
    sources = [sae.config.source or "sae" for sae in saes]
    parts = [[part for part in source.replace("\\", "/").split("/") if part] for source in sources]
    for depth in range(1, 1 + max(map(len, parts))):
        names = ["/".join(own[-depth:]) for own in parts]
        if len(set(names)) == len(set(sources)):
            return names
    return sources


def _thinned(log: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    if len(log) <= _CURVE_POINTS:
        return log
    return [log[i] for i in np.linspace(0, len(log) - 1, _CURVE_POINTS).round().astype(int)]


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
