import math

import pytest
import torch
from tests.sae.formats.builders import D, N, llama_scope_tensors, states, write_llama_scope

from saelex.errors import InputError
from saelex.sae.autoencoder import SparseAutoencoder

NORM_IN, NORM_OUT, THETA = 5.5, 4.25, 0.75390625


def latents_and_reconstruction(x, tensors=None):
    """In the space of training: scale the state, encode, weigh by decoder norms, compare, decode, scale back."""
    t = {name: tensor.double() for name, tensor in (tensors or llama_scope_tensors()).items()}
    into, out = math.sqrt(D) / NORM_IN, math.sqrt(D) / NORM_OUT
    pre = x.double() * into @ t["encoder.weight"].T + t["encoder.bias"]
    norms = t["decoder.weight"].norm(dim=0)
    raw = pre / into * (norms * into / out)  # in raw activations, with a decoder of unit columns
    latents = torch.where(raw > THETA, raw, 0.0)
    unit = t["decoder.weight"] / norms.clamp_min(1e-30)
    return latents, latents @ unit.T + t["decoder.bias"] / out


def test_raw_equals_its_formula(tmp_path):
    sae = SparseAutoencoder.load(write_llama_scope(tmp_path))
    latents, rebuilt = latents_and_reconstruction(states())
    assert 0.1 < float((latents > 0).float().mean()) < 0.6
    out = sae(states())
    torch.testing.assert_close(out.latents.double(), latents, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.reconstruction.double(), rebuilt, rtol=1e-5, atol=1e-5)
    unit = sae.W_dec.float() * sae.decoder_scale[:, None]
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(N))


def test_the_weights_are_the_files_own(tmp_path):
    sae = SparseAutoencoder.load(write_llama_scope(tmp_path))
    assert sae.W_enc.dtype == sae.W_dec.dtype == torch.bfloat16
    torch.testing.assert_close(sae.W_enc.detach(), llama_scope_tensors()["encoder.weight"].T, rtol=0, atol=0)
    torch.testing.assert_close(sae.W_dec.detach(), llama_scope_tensors()["decoder.weight"].T, rtol=0, atol=0)


def test_normalised_is_raw_times_the_norm_factor(tmp_path):
    sae = SparseAutoencoder.load(write_llama_scope(tmp_path), activation_scale="normalised")
    latents, rebuilt = latents_and_reconstruction(states())
    out = sae(states())
    torch.testing.assert_close(out.latents.double(), latents * math.sqrt(D) / NORM_IN, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.reconstruction.double(), rebuilt, rtol=1e-5, atol=1e-5)


def test_normalised_equals_saelens_where_the_decoder_has_unit_columns(tmp_path):
    """SAELens: W_enc * s, threshold * s, bias untouched, no decoder norms."""
    tensors = {name: tensor.float() for name, tensor in llama_scope_tensors().items()}
    tensors["decoder.weight"] /= tensors["decoder.weight"].norm(dim=0)
    folder = write_llama_scope(tmp_path, tensors, dataset_average_activation_norm={"in": NORM_IN, "out": NORM_IN})
    scale = math.sqrt(D) / NORM_IN
    pre = states() @ (tensors["encoder.weight"].T * scale) + tensors["encoder.bias"]
    expected = torch.where(pre > THETA * scale, pre, 0.0)
    latents = SparseAutoencoder.load(folder, activation_scale="normalised").encode(states())
    torch.testing.assert_close(latents, expected, rtol=1e-5, atol=1e-5)


def test_the_threshold_is_strict(tmp_path):
    """Unit columns, norms of sqrt(d): the gate then sees the bias itself."""
    tensors = {name: torch.zeros_like(tensor).float() for name, tensor in llama_scope_tensors().items()}
    tensors["decoder.weight"][0] = 1.0
    above = float(torch.nextafter(torch.tensor(0.5), torch.tensor(1.0)))
    tensors["encoder.bias"][:3] = torch.tensor([0.5, above, 0.25])
    folder = write_llama_scope(tmp_path, tensors, norm_activation="none", jump_relu_threshold=0.5)
    assert SparseAutoencoder.load(folder).encode(states()[:1])[0, :4].tolist() == [0.0, above, 0.0, 0.0]


@pytest.mark.parametrize("act_fn", ["jumprelu", "relu"])
def test_a_latent_that_writes_nothing_never_fires(tmp_path, act_fn):
    tensors = llama_scope_tensors()
    tensors["decoder.weight"][:, 3] = 0
    out = SparseAutoencoder.load(write_llama_scope(tmp_path, tensors, act_fn=act_fn))(states())
    assert bool((out.latents[:, 3] < 1e-20).all())
    if act_fn == "jumprelu":
        latents, rebuilt = latents_and_reconstruction(states(), tensors)
        torch.testing.assert_close(out.latents.double(), latents, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(out.reconstruction.double(), rebuilt, rtol=1e-5, atol=1e-5)


def test_b_dec_subtracted_from_the_input(tmp_path):
    norms = {"in": NORM_IN, "out": NORM_IN}
    folder = write_llama_scope(
        tmp_path, apply_decoder_bias_to_pre_encoder=True, dataset_average_activation_norm=norms, act_fn="relu"
    )
    t = {name: tensor.double() for name, tensor in llama_scope_tensors().items()}
    scale = math.sqrt(D) / NORM_IN
    pre = (states().double() * scale - t["decoder.bias"]) @ t["encoder.weight"].T + t["encoder.bias"]
    expected = pre.clamp_min(0) / scale * t["decoder.weight"].norm(dim=0)
    latents = SparseAutoencoder.load(folder).encode(states())
    torch.testing.assert_close(latents.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_activation": "token-wise"}, "norm_activation is 'token-wise'"),
        ({"act_fn": "gelu"}, "act_fn is 'gelu'"),
        ({"jump_relu_threshold": None}, "jump_relu_threshold"),
        ({"jump_relu_threshold": "high"}, "jump_relu_threshold is 'high', not a number"),
        ({"d_model": "many"}, "d_model is 'many', not a whole number"),
        ({"dataset_average_activation_norm": {"in": 3.0}}, "lacks the setting 'dataset_average_activation_norm.out'"),
        ({"dataset_average_activation_norm": 3.0}, "dataset_average_activation_norm is 3.0, not an object"),
        ({"dataset_average_activation_norm": {"in": 0, "out": 1}}, "positive"),
        ({"d_sae": 21}, "21"),
        ({"use_glu_encoder": True}, "use_glu_encoder is True"),
        ({"sparsity_include_decoder_norm": False}, "sparsity_include_decoder_norm is False"),
        ({"hook_point_in": "blocks.24.ln2.hook_normalized"}, "a transcoder, not an autoencoder"),
        ({"apply_decoder_bias_to_pre_encoder": True}, "an input of another scale"),
    ],
)
def test_settings_that_cannot_be_followed(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        SparseAutoencoder.load(write_llama_scope(tmp_path, **changes))
