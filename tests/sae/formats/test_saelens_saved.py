"""SAELens' layout written: what is read back computes the same; `tests/parity` shows that SAELens agrees."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tests.sae.formats.builders import D, N, normal, states
from tests.sae.formats.library_builders import BUILDERS, saelens_tensors

from saelex.errors import InputError
from saelex.sae.activations import JumpReLU, ReLU, TopK
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.config import SaeConfig
from saelex.sae.normalisation import TokenNorm

SCALE = torch.linspace(0.4, 2, N)


def made(gate, dtype=torch.float32, **changes):
    t = saelens_tensors("b_enc")
    config = SaeConfig(D, N, "some/model", 2, "blocks.2.hook_resid_post", metadata={"note": "x"})
    return SparseAutoencoder(
        t["W_enc"].to(dtype), t["b_enc"], t["W_dec"].to(dtype), t["b_dec"], gate, config, **changes
    )


@pytest.mark.parametrize("gate", [ReLU(), JumpReLU(normal(N, seed=5).abs()), JumpReLU(torch.tensor([0.3])), TopK(3)])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"apply_b_dec_to_input": True},
        {"encoder_scale": SCALE, "apply_b_dec_to_input": True},
        {"encoder_scale": SCALE, "decoder_scale": 1 / SCALE},
        {"input_norm": TokenNorm("layer_norm")},
        {"input_norm": TokenNorm("constant_norm"), "decoder_scale": SCALE},
    ],
)
def test_a_saved_sae_loads_back(tmp_path, gate, changes):
    sae = made(gate, **changes)
    sae.save(tmp_path / "sae")
    loaded = SparseAutoencoder.load(tmp_path / "sae")
    for one, other in zip(sae(states()), loaded(states())):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)
    assert type(loaded.activation) is type(gate)
    assert (loaded.config.model_name, loaded.config.layer, loaded.config.metadata) == ("some/model", 2, {"note": "x"})
    assert sorted(path.name for path in (tmp_path / "sae").iterdir()) == ["cfg.json", "sae_weights.safetensors"]
    stored = load_file(tmp_path / "sae" / "sae_weights.safetensors")
    assert {name: list(tensor.shape) for name, tensor in stored.items() if name != "threshold"} == {
        "W_enc": [D, N], "b_enc": [N], "W_dec": [N, D], "b_dec": [D],
    }  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_are_written_as_they_are(tmp_path, dtype):
    sae = made(JumpReLU(normal(N, seed=5).abs()), dtype)
    sae.save(tmp_path)
    loaded = SparseAutoencoder.load(tmp_path)
    assert torch.equal(loaded.W_enc, sae.W_enc) and torch.equal(loaded.W_dec, sae.W_dec)
    assert torch.equal(loaded.activation.threshold, sae.activation.threshold)
    assert json.loads((tmp_path / "cfg.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")


def test_a_scale_is_not_rounded_into_half_precision_weights(tmp_path):
    sae = made(ReLU(), torch.bfloat16, encoder_scale=SCALE)
    sae.save(tmp_path)
    loaded = SparseAutoencoder.load(tmp_path)
    assert loaded.W_enc.dtype == torch.float32
    torch.testing.assert_close(loaded.encode(states()), sae.encode(states()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda builder: builder.write.__name__)
def test_every_published_format_can_be_saved(builder, tmp_path):
    sae = SparseAutoencoder.load(builder.write(tmp_path / "published"))
    sae.save(tmp_path / "saved")
    loaded = SparseAutoencoder.load(tmp_path / "saved")
    one, other = sae(states()), loaded(states())
    torch.testing.assert_close(one.latents, other.latents, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(one.reconstruction, other.reconstruction, rtol=1e-4, atol=1e-4)
    assert (loaded.config.model_name, loaded.config.layer) == (builder.model, builder.layer)


def test_without_its_decoder_it_is_not_saved(tmp_path):
    made(ReLU()).save(tmp_path)
    with pytest.raises(InputError, match="decoder=True"):
        SparseAutoencoder.load(tmp_path, decoder=False).save(tmp_path / "again")
    assert not (tmp_path / "again").exists()
