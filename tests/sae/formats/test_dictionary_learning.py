"""dictionary_learning's modules against the formulas of their `encode` and `decode`."""

import pytest
import torch
from tests.sae.formats.builders import D, states
from tests.sae.formats.library_builders import dictionary_learning_tensors, write_dictionary_learning

from saelex.errors import InputError, MismatchError
from saelex.sae.activations import JumpReLU
from saelex.sae.autoencoder import SparseAutoencoder


def latents_and_reconstruction(dict_class):
    t = {name: tensor.double() for name, tensor in dictionary_learning_tensors(dict_class).items()}
    x = states().double()
    W_enc = t["W_enc"] if "W_enc" in t else t["encoder.weight"].T
    W_dec = t["W_dec"] if "W_dec" in t else t["decoder.weight"].T
    if dict_class == "GatedAutoEncoder":
        u = (x - t["decoder_bias"]) @ W_enc
        z = (u + t["gate_bias"] > 0) * (t["r_mag"].exp() * u + t["mag_bias"]).relu()
        return z, z @ W_dec + t["decoder_bias"]
    if dict_class == "AutoEncoder":
        z = ((x - t["bias"]) @ W_enc + t["encoder.bias"]).relu()
        return z, z @ W_dec + t["bias"]
    if dict_class == "AutoEncoderNew":
        z = (x @ W_enc + t["encoder.bias"]).relu()
        return z, z @ W_dec + t["decoder.bias"]
    if dict_class == "JumpReluAutoEncoder":
        pre = x @ W_enc + t["b_enc"]
        z = (pre * (pre > t["threshold"])).relu()
    else:
        z = ((x - t["b_dec"]) @ W_enc + t["b_enc" if "b_enc" in t else "encoder.bias"]).relu()
        if dict_class == "AutoEncoderTopK":
            kept = z.topk(4)
            z = torch.zeros_like(z).scatter(1, kept.indices, kept.values)
        else:
            z = z * (z > t["threshold"])
    return z, z @ W_dec + t["b_dec"]


@pytest.mark.parametrize(
    "dict_class",
    [
        "AutoEncoder",
        "AutoEncoderNew",
        "GatedAutoEncoder",
        "AutoEncoderTopK",
        "BatchTopKSAE",
        "MatryoshkaBatchTopKSAE",
        "JumpReluAutoEncoder",
    ],
)
def test_modules_equal_their_formulas(dict_class, tmp_path):
    latents, rebuilt = latents_and_reconstruction(dict_class)
    assert 0.05 < float((latents > 0).double().mean()) < 0.95
    folder = write_dictionary_learning(tmp_path, dict_class)
    sae = SparseAutoencoder.load(folder)
    out = sae(states())
    torch.testing.assert_close(out.latents.double(), latents, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.reconstruction.double(), rebuilt, rtol=1e-5, atol=1e-4)
    encoder = SparseAutoencoder.load(folder, decoder=False)
    torch.testing.assert_close(encoder.encode(states()), out.latents, rtol=0, atol=0)
    assert (sae.config.model_name, sae.config.layer) == ("EleutherAI/pythia-160m-deduped", 8)
    assert sae.config.metadata == {"context_size": 1024}


def test_k_is_in_the_file_where_the_configuration_lacks_it(tmp_path):
    assert SparseAutoencoder.load(write_dictionary_learning(tmp_path, "AutoEncoderTopK", k=2)).activation.k == 2
    folder = write_dictionary_learning(tmp_path / "other", "AutoEncoderTopK", k=None)
    assert SparseAutoencoder.load(folder).activation.k == 4


@pytest.mark.parametrize(
    ("submodule", "layer", "hook_name"),
    [
        ("resid_post_layer_8", 8, "blocks.8.hook_resid_post"),
        (None, 8, "blocks.8.hook_resid_post"),
        ("mlp_out_layer_8", None, "blocks.8.hook_mlp_out"),
        ("attention_out_layer_8", None, "blocks.8.hook_attn_out"),
        ("some_place", None, "some_place"),
    ],
)
def test_the_submodule_names_the_place(submodule, layer, hook_name, tmp_path):
    sae = SparseAutoencoder.load(write_dictionary_learning(tmp_path, "AutoEncoder", submodule_name=submodule))
    assert (sae.config.layer, sae.config.hook_name) == (layer, hook_name)
    if layer is None:
        with pytest.raises(MismatchError, match=f"reads {hook_name}"):
            sae.check_belongs("EleutherAI/pythia-160m-deduped", 8, D)


@pytest.mark.parametrize("dict_class", ["BatchTopKSAE", "MatryoshkaBatchTopKSAE"])
def test_batch_topk_before_its_threshold_started_is_refused(dict_class, tmp_path):
    """The library's own sign of it is -1."""
    tensors = {**dictionary_learning_tensors(dict_class), "threshold": torch.tensor(-1.0)}
    with pytest.raises(InputError, match="without a learnt threshold"):
        SparseAutoencoder.load(write_dictionary_learning(tmp_path, dict_class, tensors))


def test_a_learnt_threshold_is_one_number(tmp_path):
    gate = SparseAutoencoder.load(write_dictionary_learning(tmp_path, "BatchTopKSAE")).activation
    assert isinstance(gate, JumpReLU) and gate.threshold.tolist() == [0.75]


@pytest.mark.parametrize(
    ("dict_class", "changes", "message"),
    [
        ("AutoEncoder", {"dict_class": "CrossCoder"}, "dict_class 'CrossCoder' is not one of"),
        ("AutoEncoder", {"dict_class": None}, "lacks the setting 'trainer.dict_class'"),
        ("AutoEncoder", {"dict_class": "JumpReluAutoEncoder"}, "lacks b_dec"),
        ("AutoEncoderTopK", {"k": 0}, "k is 0"),
    ],
)
def test_what_cannot_be_followed_is_refused(dict_class, changes, message, tmp_path):
    with pytest.raises(InputError, match=message) as error:
        SparseAutoencoder.load(write_dictionary_learning(tmp_path, dict_class, **changes))
    assert "\n" not in str(error.value)
