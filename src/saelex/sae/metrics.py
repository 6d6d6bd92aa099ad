"""How well an SAE reconstructs, and with how much."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saelex.errors import InputError
from saelex.sae.autoencoder import SaeOutput, SparseAutoencoder

_LATENTS = 1 << 24  # numbers of a dense batch of latents: 64 MiB in float32


class Reconstruction(NamedTuple):
    """Quality of a batch's reconstruction."""

    fvu: float
    """Fraction of variance unexplained: squared error over squared distance from the batch's mean (0 is perfect)."""
    l0: float
    """Active latents per token, mean."""
    cosine: float
    """Cosine of state and reconstruction, mean over tokens."""


def reconstruction_metrics(states: Tensor, reconstruction: Tensor, latents: Tensor) -> Reconstruction:
    """Metrics of one batch: states and reconstruction [tokens, d_model], latents [tokens, any] (codes or dense)."""
    error = (states - reconstruction).pow(2).sum()
    spread = (states - states.mean(dim=0)).pow(2).sum()
    return Reconstruction(
        fvu=float(error / spread),
        l0=float((latents > 0).sum() / len(states)),
        cosine=float(torch.cosine_similarity(states, reconstruction, dim=1).mean()),
    )


def dead_share(tokens_since_fired: Tensor, dead_after_tokens: int) -> float:
    """Share of latents [n_latents] that have not fired for `dead_after_tokens` tokens."""
    return float((tokens_since_fired >= dead_after_tokens).float().mean())


class Histogram(NamedTuple):
    """Counts between edges; each bin holds its lower edge, the last one its upper edge too."""

    edges: NDArray[np.float64]
    """[bins + 1], rising."""
    counts: NDArray[np.int64]
    """[bins]"""


@dataclass(frozen=True)
class SaeSummary:
    """Quality of an SAE over all tokens that were seen. A latent fires where it is above zero."""

    tokens: int
    fvu: float
    """Fraction of variance unexplained: squared error over squared distance from the mean of all states; 0 is best."""
    cosine: float
    """Cosine of state and reconstruction, mean over tokens."""
    norm_ratio: float
    """Norm of the reconstruction over the norm of the state, mean over tokens; below 1 it has shrunk."""
    reconstruction_bias: float
    """Relative reconstruction bias, E|x^|^2 / E[x x^]: the factor by which x^ is too long (below 1: too short) for
    the least squared error (Gated SAEs, Rajamanoharan et al. 2024, arXiv 2404.16014)."""
    l0: float
    """Latents that fire per token, mean."""
    dead_share: float
    """Share of latents that never fired."""
    dense_share: float
    """Share of latents that fire on more than `dense_above` of the tokens."""
    dense_above: float
    density: NDArray[np.float64]
    """[n_latents]: share of tokens on which each latent fires."""
    mean_activation: NDArray[np.float64]
    """[n_latents]: mean over the tokens on which it fires; 0 for a latent that never does."""
    mean_state: NDArray[np.float64]
    """[d_model]"""
    l0_counts: NDArray[np.int64]
    """[n_latents + 1]: tokens on which exactly so many latents fire."""
    cosines: Histogram
    """Tokens by their cosine, -1 to 1."""
    errors: Histogram
    """Tokens by |x - x^| / |x|, 0 to 2; the last bin holds the larger ones too."""

    def l0_percentile(self, percent: float) -> int:
        """The least number of latents that `percent` of the tokens do not exceed."""
        needed = math.ceil(self.tokens * percent / 100)
        return int(np.searchsorted(np.cumsum(self.l0_counts), max(1, needed)))

    def density_histogram(self, bins_per_decade: int = 5) -> Histogram:
        """Latents that fire at all, by log10 of their density, in whole decades from one token to all of them."""
        decades = max(1, math.ceil(math.log10(self.tokens)))
        alive = np.log10(self.density[self.density > 0]).clip(-decades, 0)
        edges = np.linspace(-decades, 0, decades * bins_per_decade + 1)
        return Histogram(edges, np.histogram(alive, edges)[0])


class SaeTotals:
    """Sums over batches of token states, from which `summary` gives the metrics of all of them together.

    The result does not depend on how the tokens are split into batches (sums are float64; the spread is combined by
    Chan et al.'s update, which does not cancel where the mean is large). Holds a few numbers per latent.
    """

    def __init__(self, d_model: int, n_latents: int) -> None:
        self.tokens = 0
        self._mean = torch.zeros(d_model, dtype=torch.float64)
        self._spread = self._error = self._cosine = self._ratio = self._rebuilt = self._product = 0.0
        self._fired = torch.zeros(n_latents, dtype=torch.int64)
        self._activation = torch.zeros(n_latents, dtype=torch.float64)
        self._l0 = torch.zeros(n_latents + 1, dtype=torch.int64)
        self._cosines = Histogram(np.linspace(-1, 1, 201), np.zeros(200, np.int64))
        self._errors = Histogram(np.linspace(0, 2, 101), np.zeros(100, np.int64))

    def observe(self, states: Tensor, latents: Tensor, reconstruction: Tensor) -> None:
        """Add a batch: states and reconstruction [tokens, d_model], latents [tokens, n_latents]."""
        if not len(states):
            return
        states, rebuilt = states.detach().cpu().double(), reconstruction.detach().cpu().double()
        rows, columns = torch.nonzero(latents.detach() > 0, as_tuple=True)  # few beside [tokens, n_latents]
        activations = latents.detach()[rows, columns].cpu().double()
        rows, columns = rows.cpu(), columns.cpu()
        self._observe_spread(states)
        error = (states - rebuilt).norm(dim=1)  # [tokens], as the four that follow
        length, rebuilt_length = states.norm(dim=1), rebuilt.norm(dim=1)
        product = (states * rebuilt).sum(dim=1)
        tiny = torch.finfo(torch.float64).tiny  # a state of length 0 has no direction: its cosine and ratio are 0
        cosine = product / (length * rebuilt_length).clamp_min(tiny)
        known = torch.where(length > 0, length, torch.inf)
        self._error += float(error.pow(2).sum())
        self._cosine += float(cosine.sum())
        self._ratio += float((rebuilt_length / known).sum())
        self._rebuilt += float(rebuilt_length.pow(2).sum())
        self._product += float(product.sum())
        self._fired += torch.bincount(columns, minlength=len(self._fired))
        self._activation += torch.bincount(columns, activations, minlength=len(self._fired))
        per_token = torch.bincount(rows, minlength=len(states))  # [tokens]
        self._l0 += torch.bincount(per_token, minlength=len(self._l0))
        _count(self._cosines, cosine)
        _count(self._errors, error / length.clamp_min(tiny))

    def summary(self, dense_above: float = 0.1) -> SaeSummary:
        """The metrics of everything observed. Raises InputError where that is nothing."""
        if not self.tokens:
            raise InputError("no token states to measure the SAE on; check that the texts are read")
        density = self._fired.numpy() / self.tokens
        return SaeSummary(
            tokens=self.tokens,
            fvu=self._error / self._spread if self._spread else math.nan,
            cosine=self._cosine / self.tokens,
            norm_ratio=self._ratio / self.tokens,
            reconstruction_bias=self._rebuilt / self._product if self._product else math.nan,
            l0=float(self._fired.sum()) / self.tokens,
            dead_share=float((density == 0).mean()),
            dense_share=float((density > dense_above).mean()),
            dense_above=dense_above,
            density=density,
            mean_activation=(self._activation / self._fired.clamp_min(1)).numpy(),
            mean_state=self._mean.numpy().copy(),
            l0_counts=self._l0.numpy().copy(),
            cosines=Histogram(self._cosines.edges, self._cosines.counts.copy()),
            errors=Histogram(self._errors.edges, self._errors.counts.copy()),
        )

    def _observe_spread(self, states: Tensor) -> None:
        count = len(states)
        mean = states.mean(dim=0)
        shift = mean - self._mean
        total = self.tokens + count
        self._spread += float((states - mean).pow(2).sum() + shift.pow(2).sum() * self.tokens * count / total)
        self._mean += shift * (count / total)
        self.tokens = total


def sae_pieces(sae: SparseAutoencoder, states: Tensor) -> Iterator[tuple[slice, SaeOutput]]:
    """What the SAE makes of states [tokens, d_model], a few tokens at a time: dense latents of many do not fit."""
    tokens = max(1, _LATENTS // sae.config.n_latents)
    device = sae.b_enc.device
    for start in range(0, len(states), tokens):
        piece = slice(start, min(start + tokens, len(states)))
        latents, reconstruction = sae(states[piece].to(device))
        yield piece, SaeOutput(latents, reconstruction.to(states.device))


def _count(histogram: Histogram, values: Tensor) -> None:
    within = np.clip(values.numpy(), histogram.edges[0], histogram.edges[-1])
    histogram.counts[:] += np.histogram(within, histogram.edges)[0]
