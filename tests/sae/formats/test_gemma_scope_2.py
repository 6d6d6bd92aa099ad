import numpy as np
import pytest
import torch
from tests.sae.formats.builders import D, gemma_scope_2_tensors, states, write_gemma_scope_2

from saelex.errors import InputError, MismatchError
from saelex.sae.autoencoder import SparseAutoencoder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_formula(tmp_path, dtype):
    tensors = {name: tensor.to(dtype) for name, tensor in gemma_scope_2_tensors().items()}
    t = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    pre = states().double().numpy() @ t["w_enc"] + t["b_enc"]
    latents = (pre > t["threshold"]) * np.maximum(pre, 0)
    assert 0.05 < (latents > 0).mean() < 0.6
    sae = SparseAutoencoder.load(write_gemma_scope_2(tmp_path, tensors))
    out = sae(states())
    np.testing.assert_allclose(out.latents.detach(), latents, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out.reconstruction.detach(), latents @ t["w_dec"] + t["b_dec"], rtol=1e-4, atol=1e-4)
    assert (sae.W_enc.dtype, sae.config.dtype) == (dtype, str(dtype).removeprefix("torch."))
    assert (sae.config.hook_name, sae.config.metadata) == ("blocks.13.hook_resid_post", {"l0": 60})


def test_the_threshold_is_strict(tmp_path):
    tensors = {name: torch.zeros_like(tensor) for name, tensor in gemma_scope_2_tensors().items()}
    tensors["threshold"][:] = 0.5
    above = float(np.nextafter(np.float32(0.5), np.float32(1)))
    tensors["b_enc"][:3] = torch.tensor([0.5, above, 0.25])
    latents = SparseAutoencoder.load(write_gemma_scope_2(tmp_path, tensors)).encode(states()[:1])
    assert latents[0, :4].tolist() == [0.0, above, 0.0, 0.0]


@pytest.mark.parametrize(
    ("named", "model"),
    [
        ("gemma-v3-1b-pt", "google/gemma-3-1b-pt"),
        ("google/gemma-3-4b-it", "google/gemma-3-4b-it"),
        ("gemma-v3-270m-pt", "google/gemma-3-270m"),
        ("gemma-v3-270m-it", "google/gemma-3-270m-it"),
    ],
)
def test_the_model_as_the_hub_names_it(tmp_path, named, model):
    sae = SparseAutoencoder.load(write_gemma_scope_2(tmp_path, model_name=named), decoder=False)
    assert sae.config.model_name == model


@pytest.mark.parametrize(
    ("place", "model", "layer", "hook_name"),
    [
        ("gemma-scope-2-4b-it/resid_post_all/layer_7_width_16k_l0_small", "google/gemma-3-4b-it", 7, "blocks.7.hook"),
        ("gemma-scope-2-270m-pt/mlp_out/layer_5_width_16k_l0_big", "google/gemma-3-270m", None, "model.layers.5.post"),
        ("elsewhere/my-sae", None, None, None),
    ],
)
def test_without_a_configuration_the_path_says_what_it_is(tmp_path, place, model, layer, hook_name):
    folder = write_gemma_scope_2(tmp_path, place=place)
    (folder / "config.json").unlink()
    config = SparseAutoencoder.load(folder).config
    assert (config.model_name, config.layer) == (model, layer)
    assert config.hook_name is None if hook_name is None else str(config.hook_name).startswith(hook_name)


def test_one_that_reads_no_residual_stream_fits_no_backbone(tmp_path):
    read = "model.layers.13.self_attn.o_proj.input"
    sae = SparseAutoencoder.load(write_gemma_scope_2(tmp_path, hf_hook_point_in=read, hf_hook_point_out=read))
    with pytest.raises(MismatchError, match=r"o_proj\.input"):
        sae.check_belongs("google/gemma-3-1b-pt", 13, D)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "topk"}, "architecture is 'topk'"),
        ({"affine_connection": True}, "transcoder"),
        ({"type": "crosscoder"}, "crosscoder"),
        ({"hf_hook_point_out": "model.layers.13.post_feedforward_layernorm.output"}, "transcoder"),
    ],
)
def test_what_is_no_autoencoder_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        SparseAutoencoder.load(write_gemma_scope_2(tmp_path, **changes))


def test_a_transcoder_without_a_configuration_is_known_by_its_path(tmp_path):
    folder = write_gemma_scope_2(tmp_path, place="gemma-scope-2-1b-pt/transcoder_all/layer_3_width_16k_l0_small")
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match="transcoder by its name"):
        SparseAutoencoder.load(folder)
