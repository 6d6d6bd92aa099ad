"""sparsify's layout against the formula of its own `encode` and `decode`."""

import pytest
import torch
from safetensors.torch import save_file
from tests.sae.formats.builders import D, N, states, write_json
from tests.sae.formats.library_builders import sparsify_tensors, write_sparsify

from saelex.errors import InputError, MismatchError
from saelex.sae.autoencoder import SparseAutoencoder


@pytest.mark.parametrize("normalize_decoder", [True, False])
def test_it_equals_its_formula(normalize_decoder, tmp_path):
    """b_dec is subtracted whether the decoder was normalised or not."""
    t = {name: tensor.double() for name, tensor in sparsify_tensors().items()}
    x = states().double()
    kept, latents = ((x - t["b_dec"]) @ t["encoder.weight"].T + t["encoder.bias"]).relu().topk(5)
    expected = torch.zeros(len(x), N).double().scatter(1, latents, kept)
    sae = SparseAutoencoder.load(write_sparsify(tmp_path, normalize_decoder=normalize_decoder))
    out = sae(states())
    torch.testing.assert_close(out.latents.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.reconstruction.double(), expected @ t["W_dec"] + t["b_dec"], rtol=1e-5, atol=1e-4)
    assert sae.config.hook_name == "blocks.10.hook_resid_post"


def test_the_width_is_the_expansion_factors_where_it_is_not_given(tmp_path):
    sae = SparseAutoencoder.load(write_sparsify(tmp_path, num_latents=0, expansion_factor=N / D))
    assert sae.config.n_latents == N


def test_configurations_of_the_first_versions(tmp_path):
    """Of 2024: nothing of activations or transcoders."""
    folder = write_sparsify(tmp_path)
    write_json(folder / "cfg.json", {"expansion_factor": N / D, "normalize_decoder": True, "k": 5, "d_in": D})
    assert SparseAutoencoder.load(folder).activation.k == 5


@pytest.mark.parametrize(
    ("place", "layer", "hook_name"),
    [
        ("layers.23", 23, "blocks.23.hook_resid_post"),
        ("layers.23/seed1", 23, "blocks.23.hook_resid_post"),
        ("h.3", 3, "blocks.3.hook_resid_post"),
        ("model.layers.3", 3, "blocks.3.hook_resid_post"),
        ("layers.23.mlp", None, "layers.23.mlp"),
        ("embed_tokens", None, "embed_tokens"),
        ("mine", None, None),
    ],
)
def test_the_folder_names_the_place(place, layer, hook_name, tmp_path):
    sae = SparseAutoencoder.load(write_sparsify(tmp_path, place=place))
    assert (sae.config.layer, sae.config.hook_name) == (layer, hook_name)
    if layer is None and hook_name is not None:
        with pytest.raises(MismatchError, match=f"reads {hook_name}"):
            sae.check_belongs("meta-llama/Meta-Llama-3-8B", 10, D)


def test_one_layer_of_a_run_and_what_the_run_records(tmp_path):
    folder = write_sparsify(tmp_path)
    write_sparsify(tmp_path, place="layers.11")
    write_json(folder.parent / "config.json", {"sae": {}, "model": "meta-llama/Meta-Llama-3-8B", "ctx_len": 2048})
    sae = SparseAutoencoder.load(folder.parent, "layers.11")
    assert (sae.config.model_name, sae.config.layer) == ("meta-llama/Meta-Llama-3-8B", 11)
    assert sae.config.metadata == {"context_size": 2048}
    with pytest.raises(InputError, match="no SAE here"):
        SparseAutoencoder.load(folder.parent)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transcode": True}, "transcode is True"),
        ({"skip_connection": True}, "skip_connection is True"),
        ({"activation": "groupmax"}, "activation is 'groupmax'"),
        ({"signed": True}, "signed is True"),
        ({"k": None}, "lacks the setting 'k'"),
        ({"d_in": "wide"}, "d_in is 'wide'"),
        ({"num_latents": 21}, r"encoder.bias has the shape \[20\], not \[21\]"),
    ],
)
def test_what_is_no_topk_autoencoder_is_refused(changes, message, tmp_path):
    with pytest.raises(InputError, match=message) as error:
        SparseAutoencoder.load(write_sparsify(tmp_path, **changes))
    assert "\n" not in str(error.value)


def test_a_skip_connection_that_the_configuration_does_not_mention_is_refused(tmp_path):
    folder = write_sparsify(tmp_path)
    save_file({**sparsify_tensors(), "W_skip": torch.zeros(D, D)}, folder / "sae.safetensors")
    with pytest.raises(InputError, match="skip connection"):
        SparseAutoencoder.load(folder)
