import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from saelex.errors import InputError
from saelex.sae.activations import JumpReLU, ReLU, TopK
from saelex.sae.autoencoder import SaeConfig, SparseAutoencoder

D, N = 6, 15


def normal(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tensors():
    shapes = {"W_enc": (D, N), "b_enc": (N,), "W_dec": (N, D), "b_dec": (D,)}
    return {name: normal(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}


def states():
    return normal(30, D, seed=8)


def write(folder, cfg, **extra):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(cfg))
    save_file({**tensors(), **extra}, folder / "sae_weights.safetensors")
    return folder


def modern(architecture, **changes):
    metadata = {"model_name": "gemma-2-2b", "hook_name": "blocks.12.hook_resid_post", "prepend_bos": True}
    return {
        "architecture": architecture, "d_in": D, "d_sae": N, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": False, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": metadata, **changes,
    }  # fmt: skip


def test_standard_jumprelu_and_topk_equal_their_formulas(tmp_path):
    t, x = tensors(), states()
    pre, centred = x @ t["W_enc"] + t["b_enc"], (x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]
    threshold = normal(N, seed=5).abs()
    expected = {
        "standard": pre.clamp_min(0),
        "jumprelu": torch.where(pre > threshold, pre, 0.0),
        "topk": torch.zeros_like(pre).scatter(1, centred.topk(4).indices, 1.0) * centred.clamp_min(0),
    }
    folders = {
        "standard": write(tmp_path / "s", modern("standard")),
        "jumprelu": write(tmp_path / "j", modern("jumprelu"), threshold=threshold),
        "topk": write(tmp_path / "t", modern("topk", k=4, apply_b_dec_to_input=True)),
    }
    for name, folder in folders.items():
        sae = SparseAutoencoder.load(folder)
        out = sae(x)
        torch.testing.assert_close(out.latents, expected[name], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(out.reconstruction, expected[name] @ t["W_dec"] + t["b_dec"], rtol=1e-4, atol=1e-5)
        assert (sae.config.model_name, sae.config.layer) == ("gemma-2-2b", 12)
        assert sae.config.metadata == {"prepend_bos": True}


def test_latents_rescaled_by_decoder_norms(tmp_path):
    """SAELens: pre-activations times decoder norms, TopK, and latents over the norms again before decoding."""
    t = tensors()
    folder = write(tmp_path, modern("topk", k=4, rescale_acts_by_decoder_norm=True))
    norms = t["W_dec"].norm(dim=1)
    pre = (states() @ t["W_enc"] + t["b_enc"]) * norms
    latents = torch.zeros_like(pre).scatter(1, pre.topk(4).indices, 1.0) * pre.clamp_min(0)
    out = SparseAutoencoder.load(folder)(states())
    torch.testing.assert_close(out.latents, latents, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.reconstruction, (latents / norms) @ t["W_dec"] + t["b_dec"], rtol=1e-4, atol=1e-5)


def test_configurations_before_version_6(tmp_path):
    old = {
        "d_in": D, "d_sae": N, "dtype": "torch.float32", "model_name": "gpt2-small", "prepend_bos": True,
        "hook_point": "blocks.8.hook_resid_pre", "normalize_activations": "none",
        "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3},
    }  # fmt: skip
    sae = SparseAutoencoder.load(write(tmp_path, old))
    assert isinstance(sae.activation, TopK) and sae.activation.k == 3
    assert sae.apply_b_dec_to_input  # the default then
    assert (sae.config.model_name, sae.config.layer) == ("gpt2-small", 7)  # before block 8 is after block 7


def test_average_norm_scaling_is_folded(tmp_path):
    t, scale = tensors(), 2.5
    cfg = modern("standard", normalize_activations="expected_average_only_in", norm_scaling_factor=scale)
    out = SparseAutoencoder.load(write(tmp_path, cfg))(states())
    latents = (states() * scale @ t["W_enc"] + t["b_enc"]).clamp_min(0)
    torch.testing.assert_close(out.latents, latents, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.reconstruction, (latents @ t["W_dec"] + t["b_dec"]) / scale, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gate", [ReLU(), JumpReLU(normal(N, seed=5).abs()), JumpReLU(torch.tensor([0.3])), TopK(3)])
@pytest.mark.parametrize(("subtract", "scale"), [(False, None), (True, torch.linspace(0.4, 2, N))])
def test_saved_sae_loads_back(tmp_path, gate, subtract, scale):
    config = SaeConfig(D, N, "some/model", 2, "blocks.2.hook_resid_post", metadata={"note": "x"})
    sae = SparseAutoencoder(*tensors().values(), gate, config, apply_b_dec_to_input=subtract, encoder_scale=scale)
    sae.save(tmp_path / "sae")
    loaded = SparseAutoencoder.load(tmp_path / "sae")
    for one, other in zip(sae(states()), loaded(states())):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert type(loaded.activation) is type(gate)
    assert (loaded.config.model_name, loaded.config.layer, loaded.config.metadata) == ("some/model", 2, {"note": "x"})
    assert sorted(path.name for path in (tmp_path / "sae").iterdir()) == ["cfg.json", "sae_weights.safetensors"]
    stored = load_file(tmp_path / "sae" / "sae_weights.safetensors")
    assert {name: list(tensor.shape) for name, tensor in stored.items() if name != "threshold"} == {
        "W_enc": [D, N], "b_enc": [N], "W_dec": [N, D], "b_dec": [D],
    }  # fmt: skip


def test_bfloat16_weights_keep_a_float32_threshold(tmp_path):
    threshold = normal(N, seed=5).abs()
    sae = SparseAutoencoder.load(write(tmp_path, modern("jumprelu"), threshold=threshold), dtype=torch.bfloat16)
    assert sae.W_enc.dtype == torch.bfloat16
    assert torch.equal(sae.activation.threshold, threshold)


@pytest.mark.parametrize(
    ("cfg", "extra", "message"),
    [
        (modern("gated"), {}, "architecture 'gated' is not one of"),
        (modern("topk"), {}, "lacks the setting 'k'"),
        (modern("jumprelu"), {}, "lacks threshold"),
        (modern("standard", d_sae=None), {}, "'d_sae'"),
        (modern("standard", d_sae=16), {}, "W_enc has the shape"),
        (modern("standard", normalize_activations="layer_norm"), {}, "normalize_activations is 'layer_norm'"),
        (modern("standard"), {"scaling_factor": torch.full((N,), 2.0)}, "scaling_factor"),
        (modern("standard"), {"b_dec": torch.full((D,), float("nan"))}, "b_dec holds NaN"),
    ],
)
def test_what_cannot_be_followed_is_refused(tmp_path, cfg, extra, message):
    with pytest.raises(InputError, match=message) as error:
        SparseAutoencoder.load(write(tmp_path, cfg, **extra))
    assert "\n" not in str(error.value)


def test_scaling_factors_of_one_are_nothing(tmp_path):
    SparseAutoencoder.load(write(tmp_path, modern("standard"), scaling_factor=torch.ones(N)))
