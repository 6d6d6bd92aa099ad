"""sparsify's own layout: what it saves we load, and both encode and decode the same."""

from __future__ import annotations

import pytest
import torch

sparsify = pytest.importorskip("sparsify", reason="compares with sparsify: make parity")

from tests.sae.formats.builders import D, N, normal, states  # noqa: E402
from tests.sae.formats.library_builders import write_sparsify  # noqa: E402

from saelex.sae.autoencoder import SparseAutoencoder  # noqa: E402


@torch.no_grad()
def agree(ours, theirs):
    x = states()
    kept = theirs.encode(x)
    latents = torch.zeros(len(x), N).scatter(1, kept.top_indices, kept.top_acts)
    assert float((latents > 0).float().sum(dim=1).mean()) > 3
    torch.testing.assert_close(ours.encode(x), latents, rtol=1e-4, atol=1e-4)
    rebuilt = theirs.decode(kept.top_acts, kept.top_indices)
    torch.testing.assert_close(ours(x).reconstruction, rebuilt, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("normalize_decoder", [False, True])
def test_what_sparsify_saves(normalize_decoder, tmp_path):
    config = sparsify.SparseCoderConfig(num_latents=N, k=5, normalize_decoder=normalize_decoder)
    theirs = sparsify.SparseCoder(D, config)
    with torch.no_grad():
        for i, parameter in enumerate(theirs.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=i))
    theirs.save_to_disk(tmp_path / "layers.3")
    ours = SparseAutoencoder.load(tmp_path / "layers.3")
    agree(ours, theirs)
    assert ours.config.layer == 3


def test_the_tiny_files_of_the_other_tests_are_sparsifys(tmp_path):
    folder = write_sparsify(tmp_path)
    agree(SparseAutoencoder.load(folder), sparsify.SparseCoder.load_from_disk(folder))
