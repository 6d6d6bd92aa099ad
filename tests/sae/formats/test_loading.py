"""Every format: how the weights are held, and that the head computes what the SAE does."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tests.sae.formats.builders import Builder, states
from tests.sae.formats.library_builders import BUILDERS

from saelex.encoder.head import LinearHead
from saelex.encoder.pooling import pool
from saelex.errors import InputError
from saelex.sae.autoencoder import SparseAutoencoder

by_format = pytest.mark.parametrize("builder", BUILDERS, ids=lambda builder: f"{builder.name}-{builder.write.__name__}")


def mapped_files(address: int) -> list[str]:
    """The files whose mapping in this process holds the address."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, _, _, _, _, *name = line.split(maxsplit=5)
        start, stop = (int(end, 16) for end in place.split("-"))
        if start <= address < stop and name:
            found += name
    return found


@by_format
def test_the_encoder_alone_gives_the_same_latents(builder: Builder, tmp_path: Path) -> None:
    path = builder.write(tmp_path)
    whole, encoder = SparseAutoencoder.load(path), SparseAutoencoder.load(path, decoder=False)
    latents = whole.encode(states())
    assert 0 < float((latents > 0).float().mean()) < 0.9
    torch.testing.assert_close(encoder.encode(states()), latents, rtol=0, atol=0)
    assert encoder.W_dec is None
    with pytest.raises(InputError, match="decoder=True"):
        encoder.decode(latents)


@by_format
def test_the_head_pools_what_the_sae_encodes(builder: Builder, tmp_path: Path) -> None:
    sae = SparseAutoencoder.load(builder.write(tmp_path), decoder=False)
    head = LinearHead.from_sae(sae, saturation="none")
    assert head.weight.dtype == sae.W_enc.dtype
    bounds = [0, 7, 8, 30, 50]
    pooled = pool(states(), torch.tensor(bounds), head).weights
    expected = torch.stack([sae.encode(states()[start:stop]).amax(0) for start, stop in pairwise(bounds)])
    torch.testing.assert_close(pooled, expected, rtol=1e-5, atol=1e-5)


@by_format
def test_weights_keep_their_dtype_and_all_else_is_float32(builder: Builder, tmp_path: Path) -> None:
    sae = SparseAutoencoder.load(builder.write(tmp_path))
    widest = max(builder.tensors().values(), key=lambda tensor: tensor.numel())
    assert sae.W_dec is not None
    assert {sae.W_enc.dtype, sae.W_dec.dtype} == {widest.dtype}
    precise = [sae.b_enc, sae.b_dec, sae.encoder_scale, sae.decoder_scale, getattr(sae.activation, "threshold", None)]
    assert {tensor.dtype for tensor in precise if tensor is not None} == {torch.float32}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads /proc")
@pytest.mark.parametrize("builder", [builder for builder in BUILDERS if builder.mapped], ids=lambda b: b.write.__name__)
def test_weights_lie_in_the_file(builder: Builder, tmp_path: Path) -> None:
    path = builder.write(tmp_path)
    sae = SparseAutoencoder.load(path)
    assert sae.W_dec is not None
    for weights in (sae.W_enc, sae.W_dec):
        assert mapped_files(weights.data_ptr()) == [str((path / builder.weights).resolve())]
