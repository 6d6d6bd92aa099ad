import torch

from saelex.sae.metrics import dead_share, reconstruction_metrics


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
