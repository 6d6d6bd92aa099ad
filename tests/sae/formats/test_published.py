"""Tiny checkpoints in the exact published layouts, against formulas written here from the papers' descriptions."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from saelex.errors import InputError, MismatchError
from saelex.sae.autoencoder import SparseAutoencoder

D, N = 8, 20


def normal(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def states():
    return normal(50, D, seed=9) * 3


# ---- Gemma Scope ---------------------------------------------------------------------------------------------------


def gemma_arrays():
    arrays = {"W_enc": (D, N), "b_enc": (N,), "W_dec": (N, D), "b_dec": (D,), "threshold": (N,)}
    made = {name: normal(*shape, seed=i).numpy() for i, (name, shape) in enumerate(arrays.items())}
    made["threshold"] = np.abs(made["threshold"]) * 2
    return made


def gemma_folder(root, arrays=None, repository="gemma-scope-2b-pt-res", place="layer_16/width_65k/average_l0_128"):
    folder = root / repository / place
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **(gemma_arrays() if arrays is None else arrays))
    return folder


def test_gemma_scope_equals_its_formula(tmp_path):
    sae = SparseAutoencoder.load(gemma_folder(tmp_path))
    a, x = gemma_arrays(), states().double().numpy()
    pre = x @ a["W_enc"].astype(float) + a["b_enc"]
    latents = (pre > a["threshold"]) * np.maximum(pre, 0)
    assert 0.05 < (latents > 0).mean() < 0.6
    out = sae(states())
    np.testing.assert_allclose(out.latents.detach(), latents, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out.reconstruction.detach(), latents @ a["W_dec"] + a["b_dec"], rtol=1e-4, atol=1e-4)
    assert (sae.config.model_name, sae.config.layer) == ("google/gemma-2-2b", 16)
    assert sae.config.hook_name == "blocks.16.hook_resid_post"


def test_gemma_scope_threshold_is_strict(tmp_path):
    arrays = {name: np.zeros_like(value) for name, value in gemma_arrays().items()}
    arrays["threshold"][:] = 0.5
    arrays["b_enc"][:3] = [0.5, np.nextafter(np.float32(0.5), np.float32(1)), 0.25]
    latents = SparseAutoencoder.load(gemma_folder(tmp_path, arrays)).encode(states()[:1])
    assert latents[0, :4].tolist() == [0.0, float(arrays["b_enc"][1]), 0.0, 0.0]


def test_gemma_scope_folder_inside_a_local_repository(tmp_path):
    gemma_folder(tmp_path)
    sae = SparseAutoencoder.load(tmp_path / "gemma-scope-2b-pt-res", "layer_16/width_65k/average_l0_128")
    assert sae.config.layer == 16


def test_gemma_scope_embedding_sae_is_rescaled(tmp_path):
    sae = SparseAutoencoder.load(gemma_folder(tmp_path, place="embedding/width_4k/average_l0_6"))
    arrays = gemma_arrays()
    np.testing.assert_allclose(sae.W_enc.detach(), arrays["W_enc"] / math.sqrt(D), rtol=1e-6)
    np.testing.assert_allclose(sae.W_dec.detach(), arrays["W_dec"] * math.sqrt(D), rtol=1e-6)
    assert sae.config.layer is None


def test_gemma_scope_that_reads_no_residual_stream_fits_no_backbone(tmp_path):
    sae = SparseAutoencoder.load(gemma_folder(tmp_path, repository="gemma-scope-9b-it-mlp"))
    assert sae.config.model_name == "google/gemma-2-9b-it"
    with pytest.raises(MismatchError, match="hook_mlp_out"):
        sae.check_belongs("google/gemma-2-9b-it", 16, D)


# ---- Llama Scope ---------------------------------------------------------------------------------------------------

NORM_IN, NORM_OUT, THETA = 5.5, 4.25, 0.75390625


def llama_folder(root, tensors=None, **changes):
    folder = root / "Llama3_1-8B-Base-L24R-32x"
    (folder / "checkpoints").mkdir(parents=True)
    values = {
        "hook_point_in": "blocks.24.hook_resid_post", "hook_point_out": "blocks.24.hook_resid_post", "d_model": D,
        "d_sae": N, "expansion_factor": 32, "act_fn": "jumprelu", "jump_relu_threshold": THETA,
        "norm_activation": "dataset-wise", "dataset_average_activation_norm": {"in": NORM_IN, "out": NORM_OUT},
        "use_decoder_bias": True, "apply_decoder_bias_to_pre_encoder": False, "sparsity_include_decoder_norm": True,
        "top_k": 50, "use_glu_encoder": False, "dtype": "torch.bfloat16", "lp": 1,
    }  # fmt: skip
    (folder / "hyperparams.json").write_text(json.dumps({**values, **changes}))
    (folder / "lm_config.json").write_text(json.dumps({"model_name": "meta-llama/Llama-3.1-8B", "d_model": D}))
    save_file(llama_tensors() if tensors is None else tensors, folder / "checkpoints" / "final.safetensors")
    return folder


def llama_tensors():
    tensors = {
        "encoder.weight": normal(N, D, seed=1),
        "encoder.bias": normal(N, seed=2),
        "decoder.weight": normal(D, N, seed=3) / 2,
        "decoder.bias": normal(D, seed=4),
    }
    return {name: tensor.bfloat16() for name, tensor in tensors.items()}


def llama_latents_and_reconstruction(x):
    """In the space of training: scale the state, encode, weigh by decoder norms, compare, decode, scale back."""
    t = {name: tensor.double() for name, tensor in llama_tensors().items()}
    into, out = math.sqrt(D) / NORM_IN, math.sqrt(D) / NORM_OUT
    pre = x.double() * into @ t["encoder.weight"].T + t["encoder.bias"]
    norms = t["decoder.weight"].norm(dim=0)
    raw = pre / into * (norms * into / out)  # in raw activations, with a decoder of unit columns
    latents = torch.where(raw > THETA, raw, 0.0)
    return latents, latents @ (t["decoder.weight"] / norms).T + t["decoder.bias"] / out


def test_llama_scope_raw_equals_its_formula(tmp_path):
    sae = SparseAutoencoder.load(llama_folder(tmp_path))
    latents, rebuilt = llama_latents_and_reconstruction(states())
    assert 0.1 < float((latents > 0).float().mean()) < 0.6
    out = sae(states())
    torch.testing.assert_close(out.latents.double(), latents, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.reconstruction.double(), rebuilt, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(N))
    assert (sae.config.model_name, sae.config.layer) == ("meta-llama/Llama-3.1-8B", 24)


def test_llama_scope_normalised_is_raw_times_the_norm_factor(tmp_path):
    sae = SparseAutoencoder.load(llama_folder(tmp_path), activation_scale="normalised")
    latents, rebuilt = llama_latents_and_reconstruction(states())
    out = sae(states())
    torch.testing.assert_close(out.latents.double(), latents * math.sqrt(D) / NORM_IN, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.reconstruction.double(), rebuilt, rtol=1e-5, atol=1e-5)


def test_llama_scope_normalised_equals_saelens_where_the_decoder_has_unit_columns(tmp_path):
    """SAELens: W_enc * s, threshold * s, bias untouched, no decoder norms."""
    tensors = {name: tensor.float() for name, tensor in llama_tensors().items()}
    tensors["decoder.weight"] /= tensors["decoder.weight"].norm(dim=0)
    folder = llama_folder(tmp_path, tensors, dataset_average_activation_norm={"in": NORM_IN, "out": NORM_IN})
    scale = math.sqrt(D) / NORM_IN
    pre = states() @ (tensors["encoder.weight"].T * scale) + tensors["encoder.bias"]
    expected = torch.where(pre > THETA * scale, pre, 0.0)
    latents = SparseAutoencoder.load(folder, activation_scale="normalised").encode(states())
    torch.testing.assert_close(latents, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_activation": "token-wise"}, "norm_activation is 'token-wise'"),
        ({"act_fn": "gelu"}, "act_fn is 'gelu'"),
        ({"jump_relu_threshold": None}, "jump_relu_threshold"),
        ({"dataset_average_activation_norm": {"in": 3.0}}, "'in' and 'out'"),
        ({"dataset_average_activation_norm": {"in": 0, "out": 1}}, "positive"),
        ({"d_sae": 21}, "21 latents"),
        ({"use_glu_encoder": True}, "use_glu_encoder"),
    ],
)
def test_llama_scope_settings_that_cannot_be_followed(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        SparseAutoencoder.load(llama_folder(tmp_path, **changes))


# ---- damaged, foreign, missing ---------------------------------------------------------------------------------------


def test_damaged_gemma_scope_files(tmp_path):
    arrays = gemma_arrays()
    nan = {**arrays, "W_enc": np.where(arrays["W_enc"] > 1, np.nan, arrays["W_enc"]).astype(np.float32)}
    wrong = {**arrays, "W_dec": arrays["W_dec"].T}
    missing = {name: value for name, value in arrays.items() if name != "threshold"}
    short = {**arrays, "threshold": arrays["threshold"][:3]}
    cases = [
        (nan, "W_enc holds NaN"),
        (wrong, "W_dec has the shape"),
        (missing, "lacks threshold"),
        (short, "threshold has the shape"),
    ]
    for i, (damaged, message) in enumerate(cases):
        with pytest.raises(InputError, match=message) as error:
            SparseAutoencoder.load(gemma_folder(tmp_path / str(i), damaged))
        assert "\n" not in str(error.value)
    file = gemma_folder(tmp_path) / "params.npz"
    for kept in (0, 100, file.stat().st_size - 40):
        file.write_bytes(file.read_bytes()[:kept])
        with pytest.raises(InputError, match="not a readable npz"):
            SparseAutoencoder.load(file.parent)


def test_damaged_llama_scope_files(tmp_path):
    tensors = llama_tensors()
    del tensors["encoder.bias"]
    with pytest.raises(InputError, match=r"lacks encoder\.bias"):
        SparseAutoencoder.load(llama_folder(tmp_path / "missing", tensors))
    tensors = llama_tensors()
    tensors["decoder.weight"][2, 2] = math.inf
    with pytest.raises(InputError, match=r"decoder\.weight holds NaN or infinity"):
        SparseAutoencoder.load(llama_folder(tmp_path / "inf", tensors))
    folder = llama_folder(tmp_path)
    weights = folder / "checkpoints" / "final.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(InputError, match="not a readable safetensors file"):
        SparseAutoencoder.load(folder)
    (folder / "hyperparams.json").write_text("{")
    with pytest.raises(InputError, match=r"hyperparams\.json: not a readable"):
        SparseAutoencoder.load(folder)


def test_another_model_layer_or_width_is_refused(tmp_path):
    sae = SparseAutoencoder.load(llama_folder(tmp_path))
    sae.check_belongs("meta-llama/Meta-Llama-3.1-8B", 24, D)
    sae.check_belongs("/models/models--meta-llama--Llama-3.1-8B/snapshots/0e9e39f2", 24, D)
    with pytest.raises(MismatchError, match=r"Llama-3\.1-8B, not on .*Instruct"):
        sae.check_belongs("meta-llama/Llama-3.1-8B-Instruct", 24, D)
    with pytest.raises(MismatchError, match="output of block 24, not of block 25"):
        sae.check_belongs("meta-llama/Llama-3.1-8B", 25, D)
    with pytest.raises(MismatchError, match=r"8 dimensions, .* has 16"):
        sae.check_belongs("meta-llama/Llama-3.1-8B", 24, 16)


def test_what_is_no_sae_says_what_would_be(tmp_path):
    with pytest.raises(InputError, match=r"params\.npz"):
        SparseAutoencoder.load(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        SparseAutoencoder.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="unknown SAE format 'saelense'"):
        SparseAutoencoder.load(tmp_path, format="saelense")
    with pytest.raises(InputError, match="llama_scope: hyperparams"):
        SparseAutoencoder.load(gemma_folder(tmp_path), format="llama_scope")
    with pytest.raises(InputError, match="activation_scale is raw for gemma_scope"):
        SparseAutoencoder.load(gemma_folder(tmp_path / "b"), activation_scale="normalised")


def test_from_the_hub_only_this_saes_files_are_fetched(tmp_path, monkeypatch):
    gemma_folder(tmp_path)
    asked = {}

    def snapshot_download(repo, *, revision, token, allow_patterns):
        asked.update(repo=repo, revision=revision, patterns=allow_patterns)
        return str(tmp_path / "gemma-scope-2b-pt-res")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    sae = SparseAutoencoder.load(
        "google/gemma-scope-2b-pt-res", "layer_16/width_65k/average_l0_128/params.npz", revision="main"
    )
    assert (asked["repo"], asked["revision"]) == ("google/gemma-scope-2b-pt-res", "main")
    assert "layer_16/width_65k/average_l0_128/params.npz" in asked["patterns"]
    assert not any("*" in pattern for pattern in asked["patterns"])
    assert (sae.config.model_name, sae.config.layer) == ("google/gemma-2-2b", 16)
