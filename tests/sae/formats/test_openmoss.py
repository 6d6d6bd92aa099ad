import math

import pytest
import torch
from tests.sae.formats.builders import (
    HOOK,
    D,
    N,
    normal,
    openmoss_tensors,
    r1_distill_tensors,
    states,
    write_openmoss,
    write_r1_distill,
)

from saelex.errors import InputError
from saelex.sae.autoencoder import SparseAutoencoder

FACTOR = math.sqrt(D) / 5.5  # what the training multiplied the states by
LINEAR = {
    "encoder.weight": "W_E",
    "encoder.bias": "b_E",
    "decoder.weight": "W_D",
    "decoder.bias": "b_D",
    "log_jumprelu_threshold": "activation_function.log_jumprelu_threshold",
}


def in_double(tensors):
    """By today's names, in today's layout."""
    doubles = {}
    for name, tensor in tensors.items():
        doubles[LINEAR.get(name, name)] = (
            tensor.T if name in ("encoder.weight", "decoder.weight") else tensor
        ).double()
    return doubles


def trained(x, tensors, act_fn="jumprelu", *, decoder_norms=True, top_k=3):
    """What OpenMOSS computes on normalised states x: the gate's view, [tokens, N], and the normalised reconstruction.

    The gate compares the pre-activations times the decoder's norms; the latents themselves are without these norms.
    """
    t = in_double(tensors)
    norms = t["W_D"].norm(dim=1) if decoder_norms else torch.ones(N, dtype=torch.float64)
    seen = (x @ t["W_E"] + t["b_E"]) * norms
    if act_fn == "jumprelu":
        seen = seen * (seen > t["activation_function.log_jumprelu_threshold"].exp())
    else:
        seen = seen.clamp_min(0)
    if act_fn == "topk":
        seen = torch.zeros_like(seen).scatter(1, seen.topk(top_k).indices, 1.0) * seen
    return seen, (seen / norms) @ t["W_D"] + t["b_D"]


@pytest.mark.parametrize(
    ("write", "tensors"), [(write_openmoss, openmoss_tensors()), (write_r1_distill, r1_distill_tensors())]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("act_fn", ["jumprelu", "topk", "relu"])
@pytest.mark.parametrize("decoder_norms", [True, False])
def test_raw_and_normalised_equal_the_training_s_formula(tmp_path, write, tensors, dtype, act_fn, decoder_norms):
    tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    folder = write(tmp_path, tensors, act_fn=act_fn, top_k=3, sparsity_include_decoder_norm=decoder_norms)
    seen, rebuilt = trained(states().double() * FACTOR, tensors, act_fn, decoder_norms=decoder_norms)
    assert 0.1 < float((seen > 0).double().mean()) < 0.7
    raw = SparseAutoencoder.load(folder)(states())
    torch.testing.assert_close(raw.latents.double(), seen / FACTOR, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(raw.reconstruction.double(), rebuilt / FACTOR, rtol=1e-5, atol=1e-5)
    normalised = SparseAutoencoder.load(folder, activation_scale="normalised")(states())
    torch.testing.assert_close(normalised.latents.double(), seen, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(normalised.reconstruction.double(), rebuilt / FACTOR, rtol=1e-5, atol=1e-5)


def test_raw_latents_write_as_much_as_they_say(tmp_path):
    """The unit-decoder space: a latent's length in the reconstruction, in the model's own scale, is the latent."""
    sae = SparseAutoencoder.load(write_openmoss(tmp_path))
    latents = sae.encode(states())
    one = torch.zeros_like(latents)
    one[:, 7] = latents[:, 7]
    assert bool((one > 0).any())
    written = sae.decode(one) - sae.decode(torch.zeros_like(one))
    torch.testing.assert_close(written.norm(dim=1), one[:, 7], rtol=1e-4, atol=1e-5)


def test_the_threshold_is_strict(tmp_path):
    tensors = {name: torch.zeros_like(tensor) for name, tensor in openmoss_tensors().items()}
    tensors["W_D"][:, 0] = 1.0
    above = float(torch.nextafter(torch.tensor(1.0), torch.tensor(2.0)))
    tensors["b_E"][:3] = torch.tensor([1.0, above, 0.5])
    folder = write_openmoss(tmp_path, tensors, norm_activation="inference")  # exp(0) = 1
    assert SparseAutoencoder.load(folder).encode(states()[:1])[0, :4].tolist() == [0.0, above, 0.0, 0.0]


def test_norms_folded_already_and_norms_of_each_token(tmp_path):
    tensors = openmoss_tensors()
    folded = SparseAutoencoder.load(write_openmoss(tmp_path / "folded", norm_activation="inference"))(states())
    seen, rebuilt = trained(states().double(), tensors)
    torch.testing.assert_close(folded.latents.double(), seen, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(folded.reconstruction.double(), rebuilt, rtol=1e-5, atol=1e-5)
    x = states() * normal(50, 1, seed=11).abs()
    lengths = x.double().norm(dim=1, keepdim=True) / math.sqrt(D)
    seen, rebuilt = trained(x.double() / lengths, tensors)
    each = SparseAutoencoder.load(write_openmoss(tmp_path / "each", norm_activation="token-wise"))(x)
    torch.testing.assert_close(each.latents.double(), seen, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(each.reconstruction.double(), rebuilt * lengths, rtol=1e-4, atol=1e-4)


def test_without_a_decoder_bias(tmp_path):
    tensors = openmoss_tensors()
    del tensors["b_D"]
    sae = SparseAutoencoder.load(write_openmoss(tmp_path, tensors, use_decoder_bias=False))
    assert not bool(sae.b_dec.any())


def test_the_model_is_named_by_lm_config_or_the_suite(tmp_path):
    folder = write_openmoss(tmp_path, place="Llama-Scope-2-Qwen3-1.7B/sae/8x/k64/layer15_sae_8x_k64")
    assert SparseAutoencoder.load(folder).config.model_name == "Qwen/Qwen3-1.7B"
    (folder / "lm_config.json").write_text('{"model_name": "Qwen/Qwen3-8B"}')
    assert SparseAutoencoder.load(folder).config.model_name == "Qwen/Qwen3-8B"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sae_type": "crosscoder"}, "sae_type is 'crosscoder'"),
        ({"sae_type": "lorsa"}, "sae_type is 'lorsa'"),
        ({"use_glu_encoder": True}, "use_glu_encoder is True"),
        ({"hook_point_in": "blocks.15.ln2.hook_normalized"}, "a transcoder, not an autoencoder"),
        ({"act_fn": "batchtopk"}, "act_fn is 'batchtopk'.* 'jumprelu', 'relu', 'topk'"),
        ({"act_fn": "topk", "top_k": None}, "k is None"),
        ({"norm_activation": "batch-wise"}, "norm_activation is 'batch-wise'"),
        ({"hook_point_in": None}, "hook_point_in"),
        ({"expansion_factor": None}, "expansion_factor"),
        ({"expansion_factor": 3}, "shape"),
        ({"d_model": True}, "d_model is True, not a whole number"),
    ],
)
def test_settings_that_cannot_be_followed(tmp_path, changes, message):
    with pytest.raises(InputError, match=message) as error:
        SparseAutoencoder.load(write_openmoss(tmp_path, **changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("norm", [torch.tensor(0.0), torch.tensor(-2.0), torch.tensor([1.0, 2.0])])
def test_a_mean_norm_that_is_none(tmp_path, norm):
    tensors = {**openmoss_tensors(), f"dataset_average_activation_norm.{HOOK}": norm}
    with pytest.raises(InputError, match="not a norm"):
        SparseAutoencoder.load(write_openmoss(tmp_path, tensors))
