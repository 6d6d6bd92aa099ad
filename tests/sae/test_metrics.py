import numpy as np
import pytest
import torch

from saelex.errors import InputError
from saelex.sae.metrics import SaeTotals, dead_share, reconstruction_metrics


def test_metrics_equal_their_formulas():
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(50, 6, generator=generator) + 3
    rebuilt = states + torch.randn(50, 6, generator=generator) * 0.2
    latents = torch.randn(50, 9, generator=generator).relu()
    metrics = reconstruction_metrics(states, rebuilt, latents)
    spread = 50 * states.var(0, correction=0).sum()
    torch.testing.assert_close(metrics.fvu, float((states - rebuilt).pow(2).sum() / spread))
    torch.testing.assert_close(metrics.l0, float((latents != 0).float().sum(1).mean()))
    cosine = (states * rebuilt).sum(1) / states.norm(dim=1) / rebuilt.norm(dim=1)
    torch.testing.assert_close(metrics.cosine, float(cosine.mean()))


def test_reconstructing_the_mean_explains_nothing():
    states = torch.randn(100, 4, generator=torch.Generator().manual_seed(1))
    rebuilt = states.mean(0).expand_as(states)
    torch.testing.assert_close(reconstruction_metrics(states, rebuilt, states).fvu, 1.0)


def test_dead_share():
    assert dead_share(torch.tensor([0, 99, 100, 500]), 100) == 0.5


N_TOKENS, D_MODEL, N_LATENTS = 400, 5, 12


def observed(splits, *, shift=0.0):
    """A batch of states, latents and reconstructions, and the summary of it over the given pieces."""
    generator = torch.Generator().manual_seed(2)
    states = torch.randn(N_TOKENS, D_MODEL, generator=generator) + shift
    rebuilt = 0.9 * states + 0.3 * torch.randn(N_TOKENS, D_MODEL, generator=generator)
    rarity = torch.linspace(-1.5, 2, N_LATENTS)  # the first latents fire on most tokens, the last on few
    rebuilt[0] = -2 * states[0]  # as wrong as can be
    latents = (torch.randn(N_TOKENS, N_LATENTS, generator=generator) - rarity).relu()
    latents[:, 7] = 0
    totals = SaeTotals(D_MODEL, N_LATENTS)
    for part in torch.arange(N_TOKENS).tensor_split(splits):
        totals.observe(states[part], latents[part], rebuilt[part])
    return states.double().numpy(), latents.double().numpy(), rebuilt.double().numpy(), totals.summary(0.5)


@pytest.mark.parametrize("splits", [(), (1, 1, 350), tuple(range(7, N_TOKENS, 13))])
@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_sums_over_batches_equal_the_formulas_on_whole_arrays(splits, shift):
    states, latents, rebuilt, summary = observed(splits, shift=shift)
    error = ((states - rebuilt) ** 2).sum()
    norm, rebuilt_norm = np.linalg.norm(states, axis=1), np.linalg.norm(rebuilt, axis=1)
    fired = latents > 0
    np.testing.assert_allclose(summary.fvu, error / ((states - states.mean(0)) ** 2).sum(), rtol=1e-9)
    np.testing.assert_allclose(summary.cosine, ((states * rebuilt).sum(1) / norm / rebuilt_norm).mean(), rtol=1e-12)
    np.testing.assert_allclose(summary.norm_ratio, (rebuilt_norm / norm).mean(), rtol=1e-12)
    np.testing.assert_allclose(summary.mean_state, states.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(summary.density, fired.mean(0))
    assert summary.tokens == N_TOKENS
    assert summary.l0 == pytest.approx(fired.sum(1).mean())
    assert summary.dead_share == 1 / N_LATENTS == (fired.sum(0) == 0).mean()
    assert summary.dense_share == (fired.mean(0) > 0.5).mean() > 0
    alive = [latents[fired[:, j], j].mean() if fired[:, j].any() else 0.0 for j in range(N_LATENTS)]
    np.testing.assert_allclose(summary.mean_activation, alive, rtol=1e-9)
    np.testing.assert_array_equal(summary.l0_counts, np.bincount(fired.sum(1), minlength=N_LATENTS + 1))


def test_reconstruction_bias_is_the_best_factor():
    """gamma minimises |x^ / gamma - x|^2 (arXiv 2404.16014); here by trying factors out."""
    states, _, rebuilt, summary = observed((100,))
    factors = np.linspace(0.5, 2, 15_001)
    errors = [((rebuilt / factor - states) ** 2).sum() for factor in factors]
    assert summary.reconstruction_bias == pytest.approx(factors[np.argmin(errors)], abs=2e-4)


@pytest.mark.parametrize("percent", [0, 1, 5, 50, 95, 99.9, 100])
def test_percentiles_of_l0(percent):
    _, latents, _, summary = observed((3, 200))
    expected = np.percentile((latents > 0).sum(1), percent, method="inverted_cdf")
    assert summary.l0_percentile(percent) == expected


def test_histograms_hold_every_token_and_every_living_latent():
    states, latents, rebuilt, summary = observed((50,))
    cosine = (states * rebuilt).sum(1) / np.linalg.norm(states, axis=1) / np.linalg.norm(rebuilt, axis=1)
    within = np.clip(cosine, -1, 1)  # rounding may leave the opposite of a state a little beyond
    np.testing.assert_array_equal(summary.cosines.counts, np.histogram(within, summary.cosines.edges)[0])
    error = np.linalg.norm(states - rebuilt, axis=1) / np.linalg.norm(states, axis=1)
    np.testing.assert_array_equal(
        summary.errors.counts, np.histogram(np.minimum(error, summary.errors.edges[-1]), summary.errors.edges)[0]
    )
    assert error.max() > summary.errors.edges[-1]  # so that the last bin's rule matters
    alive = (latents > 0).sum(0)
    densities = summary.density_histogram(bins_per_decade=4)
    assert densities.edges[0] == -3 and densities.edges[-1] == 0  # one token in 400 is more than one in 1000
    expected, _ = np.histogram(np.log10(alive[alive > 0] / N_TOKENS), np.linspace(-3, 0, 13))
    np.testing.assert_array_equal(densities.counts, expected)
    assert densities.counts.sum() == N_LATENTS - 1


def test_nothing_observed_is_refused():
    totals = SaeTotals(D_MODEL, N_LATENTS)
    totals.observe(torch.empty(0, D_MODEL), torch.empty(0, N_LATENTS), torch.empty(0, D_MODEL))
    with pytest.raises(InputError, match="no token states"):
        totals.summary()


def test_a_state_of_length_zero_is_counted_without_a_direction():
    totals = SaeTotals(2, 3)
    states = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    totals.observe(states, torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), states)
    summary = totals.summary()
    assert (summary.tokens, summary.cosine, summary.norm_ratio, summary.fvu) == (2, 0.5, 0.5, 0.0)
