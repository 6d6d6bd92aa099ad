"""States with a known sparse structure, and settings that are small enough to learn it at once."""

import torch

from saelex.sae.training.settings import SaeTraining

D_MODEL, FEATURES, ACTIVE = 24, 60, 3


def synthetic(tokens, seed=0):
    """States that are sums of 3 of 60 random directions around a mean far from zero."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(FEATURES, D_MODEL, generator=generator), dim=1)
    which = torch.rand(tokens, FEATURES, generator=generator).topk(ACTIVE).indices
    strength = torch.rand(tokens, ACTIVE, generator=generator) + 0.5
    codes = torch.zeros(tokens, FEATURES).scatter(1, which, strength)
    return codes @ directions + 2.0


def settings(**changes):
    base = {
        "n_latents": 128, "k": 3, "tokens": 64 * 300, "batch_tokens": 64, "learning_rate": 5e-3, "warmup_steps": 20,
        "dead_after_tokens": 2000, "buffer_tokens": 2048, "checkpoint_steps": 0, "log_steps": 100, "bfloat16": False,
        "sparsity_warmup_steps": 100,
    }  # fmt: skip
    return SaeTraining(**{**base, **changes})


KINDS = {
    "topk": {},
    "batch_topk": {"gate": "batch_topk"},
    "matryoshka": {"gate": "batch_topk", "widths": [32, 64, 128]},
    "hierarchical_topk": {"gate": "hierarchical_topk"},
    "relu": {"gate": "relu", "sparsity": 0.03},
    "jumprelu": {"gate": "jumprelu", "sparsity": 0.01, "bandwidth": 0.1, "initial_threshold": 0.1},
}


@torch.no_grad()
def fvu(sae, states):
    error = (states - sae(states).reconstruction).pow(2).sum()
    return float(error / (states - states.mean(0)).pow(2).sum())
