"""Products with the few active latents of each token: what makes a TopK SAE's cost follow k and not the width."""

from __future__ import annotations

import torch

from saelex.sae.products.cpu import CpuCodeProducts
from saelex.sae.products.plain import CodeProducts, Spares, sum_values

__all__ = ["CodeProducts", "Spares", "products_of", "sum_values"]

PRODUCTS: dict[str, CodeProducts] = {"cpu": CpuCodeProducts(), "torch": CodeProducts()}
"""By device type; "torch" runs on every device, and is the own of those that have no other."""


def products_of(device: torch.device) -> CodeProducts:
    """The device's own products. A further device is one file and one line above."""
    return PRODUCTS.get(device.type, PRODUCTS["torch"])
