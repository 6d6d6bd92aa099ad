"""SAELens' layout read: every architecture, scale and norm against its formula in float64."""

import pytest
import torch
from tests.sae.formats.builders import D, N, normal, states
from tests.sae.formats.library_builders import (
    GATED,
    saelens_config,
    saelens_tensors,
    write_saelens,
    write_saelens_jumprelu,
    write_saelens_topk,
)

from saelex.errors import InputError
from saelex.sae.activations import JumpReLU, ReLU, TopK
from saelex.sae.autoencoder import SparseAutoencoder


def double(tensors):
    return {name: tensor.double() for name, tensor in tensors.items()}


def largest(pre, k):
    return torch.zeros_like(pre).scatter(1, pre.topk(k).indices, 1.0) * pre.clamp_min(0)


def check(folder, latents, reconstruction):
    assert 0.02 < float((latents > 0).double().mean()) < 0.98
    out = SparseAutoencoder.load(folder)(states())
    torch.testing.assert_close(out.latents.double(), latents, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.reconstruction.double(), reconstruction, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize("architecture", ["standard", "gated", "jumprelu", "topk", "batchtopk", "matryoshka_batchtopk"])
def test_architectures_equal_their_formulas(architecture, subtract, tmp_path):
    batch = architecture.endswith("batchtopk")
    names = {"gated": GATED, "jumprelu": ("b_enc", "threshold")}.get(architecture, ("b_enc",))
    tensors = saelens_tensors(*names) | ({"topk_threshold": torch.tensor(1.25).double()} if batch else {})
    extra = {"k": 4} if "topk" in architecture else {}
    config = saelens_config(architecture, apply_b_dec_to_input=subtract, **extra)
    t, x = double(tensors), states().double()
    u = (x - t["b_dec"] * subtract) @ t["W_enc"]
    if architecture == "gated":
        latents = (u + t["b_gate"] > 0) * (u * t["r_mag"].exp() + t["b_mag"]).clamp_min(0)
    else:
        pre = u + t["b_enc"]
        latents = {
            "standard": lambda: pre.clamp_min(0),
            "jumprelu": lambda: pre.clamp_min(0) * (pre > t["threshold"]),
            "topk": lambda: largest(pre, 4),
        }.get(architecture, lambda: pre.clamp_min(0) * (pre > 1.25))()
    folder = write_saelens(tmp_path, config, tensors)
    check(folder, latents, latents @ t["W_dec"] + t["b_dec"])
    sae = SparseAutoencoder.load(folder)
    assert (sae.config.model_name, sae.config.layer) == ("gemma-2-2b", 12)
    assert sae.config.metadata == {
        "sae_lens_training_version": "6.54.12", "prepend_bos": True, "context_size": 1024,
        "neuronpedia_id": "gemma-2-2b/12-some-16k",
    }  # fmt: skip


@pytest.mark.parametrize("factor", [None, 2.5])
@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
def test_latents_rescaled_by_decoder_norms(architecture, factor, tmp_path):
    """SAELens folds the factor first: the norms, and a learnt threshold, are then of the folded decoder."""
    tensors = saelens_tensors("b_enc")
    config = saelens_config(architecture, k=4, rescale_acts_by_decoder_norm=True, apply_b_dec_to_input=True)
    if architecture == "batchtopk":
        tensors["topk_threshold"] = torch.tensor(1.25).double()
    if factor is not None:
        config |= {"normalize_activations": "expected_average_only_in", "norm_scaling_factor": factor}
    t, s, x = double(tensors), factor or 1.0, states().double()
    W_enc, W_dec, b_dec = t["W_enc"] * s, t["W_dec"] / s, t["b_dec"] / s
    norms = W_dec.norm(dim=1)
    pre = ((x - b_dec) @ W_enc + t["b_enc"]) * norms
    latents = largest(pre, 4) if architecture == "topk" else pre.clamp_min(0) * (pre > 1.25 / s)
    folder = write_saelens(tmp_path, config, tensors)
    check(folder, latents, (latents / norms) @ W_dec + b_dec)
    encoder = SparseAutoencoder.load(folder, decoder=False)
    torch.testing.assert_close(encoder.encode(states()).double(), latents, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        ("expected_average_only_in", "norm_scaling_factor"),
        (True, "norm_scaling_factor"),
        ("constant_scalar_rescale", "activation_normalization_factor"),
    ],
)
def test_a_factor_of_the_input(kind, setting, subtract, tmp_path):
    tensors, factor = saelens_tensors(*GATED), 0.4
    changes = {"normalize_activations": kind, setting: factor, "apply_b_dec_to_input": subtract}
    t, x = double(tensors), states().double() * factor
    u = (x - t["b_dec"] * subtract) @ t["W_enc"]
    latents = (u + t["b_gate"] > 0) * (u * t["r_mag"].exp() + t["b_mag"]).clamp_min(0)
    folder = write_saelens(tmp_path, saelens_config("gated", **changes), tensors)
    check(folder, latents, (latents @ t["W_dec"] + t["b_dec"]) / factor)


@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize("kind", ["layer_norm", "constant_norm_rescale"])
def test_norms_of_each_token(kind, subtract, tmp_path):
    tensors = saelens_tensors("b_enc", "threshold")
    changes = {"normalize_activations": kind, "apply_b_dec_to_input": subtract}
    t, x = double(tensors), states().double()
    mean, spread = torch.zeros(len(x), 1).double(), x.norm(dim=1, keepdim=True) / D**0.5
    seen = x / spread
    if kind == "layer_norm":
        mean, spread = x.mean(dim=1, keepdim=True), x.std(dim=1, keepdim=True)
        seen = (x - mean) / (spread + 1e-5)
    pre = (seen - t["b_dec"] * subtract) @ t["W_enc"] + t["b_enc"]
    latents = pre.clamp_min(0) * (pre > t["threshold"])
    folder = write_saelens(tmp_path, saelens_config("jumprelu", **changes), tensors)
    check(folder, latents, (latents @ t["W_dec"] + t["b_dec"]) * spread + mean)


def test_scaling_factors_of_the_decoder(tmp_path):
    """A finetuned SAE's `scaling_factor` multiplies the latents before they are decoded, and only then."""
    tensors = {**saelens_tensors("b_enc"), "scaling_factor": normal(N, seed=5).abs() + 0.5}
    config = saelens_config("standard", finetuning_scaling_factor=True)
    t = double(tensors)
    latents = (states().double() @ t["W_enc"] + t["b_enc"]).clamp_min(0)
    folder = write_saelens(tmp_path, config, tensors)
    check(folder, latents, (latents * t["scaling_factor"]) @ t["W_dec"] + t["b_dec"])


def test_scaling_factors_of_one_are_nothing(tmp_path):
    folder = write_saelens(
        tmp_path, saelens_config("standard"), {**saelens_tensors("b_enc"), "scaling_factor": torch.ones(N)}
    )
    assert SparseAutoencoder.load(folder).decoder_scale is None


def old_config(**changes):
    """As SAELens 3 to 5 wrote it."""
    return {
        "d_in": D, "d_sae": N, "dtype": "torch.float32", "model_name": "gpt2-small", "prepend_bos": True,
        "context_size": 128, "hook_name": "blocks.8.hook_resid_pre", "hook_layer": 8, "normalize_activations": "none",
        "sae_lens_training_version": "3.18.2", "finetuning_scaling_factor": False, **changes,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "vectors", "kind"),
    [
        ({}, ("b_enc",), ReLU),
        ({"architecture": "standard", "activation_fn_str": "relu"}, ("b_enc",), ReLU),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}}, ("b_enc",), TopK),
        ({"architecture": "topk", "activation_fn": "topk", "activation_fn_kwargs": {"k": 3}}, ("b_enc",), TopK),
        ({"architecture": "jumprelu", "activation_fn_str": "relu"}, ("b_enc", "threshold"), JumpReLU),
        ({"architecture": "jumprelu"}, ("b_enc", "log_threshold"), JumpReLU),
        ({"architecture": "gated", "activation_fn_str": "relu"}, GATED, JumpReLU),
    ],
)
def test_configurations_before_version_6(changes, vectors, kind, tmp_path):
    tensors = saelens_tensors(*vectors)
    sae = SparseAutoencoder.load(write_saelens(tmp_path, old_config(**changes), tensors))
    assert isinstance(sae.activation, kind)
    assert not isinstance(sae.activation, TopK) or sae.activation.k == 3
    if "log_threshold" in tensors:
        torch.testing.assert_close(sae.activation.threshold, tensors["log_threshold"].exp())
    assert sae.apply_b_dec_to_input  # the default then
    assert (sae.config.model_name, sae.config.layer) == ("gpt2-small", 7)  # before block 8 is after block 7
    assert sae.config.metadata == {"prepend_bos": True, "context_size": 128, "neuronpedia_id": None}


def test_the_hook_point_of_the_oldest_configurations(tmp_path):
    config = old_config(hook_point="blocks.3.hook_resid_post", hook_name=None)
    assert SparseAutoencoder.load(write_saelens(tmp_path, config, saelens_tensors("b_enc"))).config.layer == 3


def test_bfloat16_weights_keep_a_float32_threshold(tmp_path):
    sae = SparseAutoencoder.load(write_saelens_jumprelu(tmp_path), dtype=torch.bfloat16)
    assert sae.W_enc.dtype == torch.bfloat16
    assert torch.equal(sae.activation.threshold, saelens_tensors("b_enc", "threshold")["threshold"])


def test_the_decoder_norms_need_no_decoder_in_memory(tmp_path):
    sae = SparseAutoencoder.load(write_saelens_topk(tmp_path), decoder=False)
    assert sae.W_dec is None
    torch.testing.assert_close(sae.encoder_scale, saelens_tensors()["W_dec"].norm(dim=1))


@pytest.mark.parametrize(
    ("config", "extra", "message"),
    [
        (saelens_config("transcoder"), {}, "a transcoder, not an autoencoder"),
        (old_config(activation_fn_str="tanh-relu"), {}, "activation 'tanh-relu' of a standard SAE is not read"),
        (saelens_config("topk"), {}, "lacks the setting 'k'"),
        (saelens_config("topk", k=0), {}, "k is 0"),
        (saelens_config("topk", k="many"), {}, "k is 'many'"),
        (saelens_config("jumprelu"), {}, "lacks threshold"),
        (saelens_config("gated"), {}, "lacks b_gate, b_mag, r_mag"),
        (saelens_config("batchtopk", k=4), {}, "without a learnt topk_threshold"),
        (saelens_config("batchtopk", k=4), {"topk_threshold": torch.zeros(())}, "without a learnt topk_threshold"),
        (saelens_config("standard", d_sae=None), {}, "'d_sae'"),
        (saelens_config("standard", d_sae=16), {}, r"b_enc has the shape \[20\], not \[16\]"),
        (saelens_config("standard", normalize_activations="covariance_whitening"), {}, "'covariance_whitening'"),
        (saelens_config("standard", normalize_activations="expected_average_only_in"), {}, "without a recorded factor"),
        (
            saelens_config("standard", normalize_activations="expected_average_only_in", norm_scaling_factor=-1),
            {},
            "norm_scaling_factor must be positive",
        ),
        (saelens_config("standard"), {"scaling_factor": torch.full((N,), 2.0)}, "finetuning_scaling_factor"),
        (
            saelens_config("standard", finetuning_scaling_factor=True),
            {"scaling_factor": torch.linspace(-1, 1, N)},
            "decoder_scale must be positive",
        ),
        (saelens_config("standard"), {"b_dec": torch.full((D,), float("nan"))}, "b_dec holds NaN"),
    ],
)
def test_what_cannot_be_followed_is_refused(tmp_path, config, extra, message):
    with pytest.raises(InputError, match=message) as error:
        SparseAutoencoder.load(write_saelens(tmp_path, config, {**saelens_tensors("b_enc"), **extra}))
    assert "\n" not in str(error.value)
