import math

import numpy as np
import pytest
import torch
from tests.sae.formats.builders import D, N, gemma_scope_tensors, states, write_gemma_scope

from saelex.errors import InputError, MismatchError
from saelex.reading.arrays import Npz
from saelex.sae.autoencoder import SparseAutoencoder


def arrays():
    return {name: tensor.double().numpy() for name, tensor in gemma_scope_tensors().items()}


def test_the_formula(tmp_path):
    a, x = arrays(), states().double().numpy()
    pre = x @ a["W_enc"] + a["b_enc"]
    latents = (pre > a["threshold"]) * np.maximum(pre, 0)
    assert 0.05 < (latents > 0).mean() < 0.6
    sae = SparseAutoencoder.load(write_gemma_scope(tmp_path))
    out = sae(states())
    np.testing.assert_allclose(out.latents.detach(), latents, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out.reconstruction.detach(), latents @ a["W_dec"] + a["b_dec"], rtol=1e-4, atol=1e-4)
    assert sae.config.hook_name == "blocks.16.hook_resid_post"


def test_the_threshold_is_strict(tmp_path):
    tensors = {name: torch.zeros_like(tensor) for name, tensor in gemma_scope_tensors().items()}
    tensors["threshold"][:] = 0.5
    above = float(np.nextafter(np.float32(0.5), np.float32(1)))
    tensors["b_enc"][:3] = torch.tensor([0.5, above, 0.25])
    latents = SparseAutoencoder.load(write_gemma_scope(tmp_path, tensors)).encode(states()[:1])
    assert latents[0, :4].tolist() == [0.0, above, 0.0, 0.0]


def test_a_folder_inside_a_local_repository(tmp_path):
    write_gemma_scope(tmp_path)
    sae = SparseAutoencoder.load(tmp_path / "gemma-scope-2b-pt-res", "layer_16/width_65k/average_l0_128")
    assert sae.config.layer == 16


def test_an_embedding_sae_is_rescaled(tmp_path):
    sae = SparseAutoencoder.load(write_gemma_scope(tmp_path, place="embedding/width_4k/average_l0_6"))
    a, x = arrays(), states().double().numpy() * 5
    pre = x @ (a["W_enc"] / math.sqrt(D)) + a["b_enc"]
    latents = (pre > a["threshold"]) * pre
    assert (latents > 0).mean() > 0.05
    out = sae(states() * 5)
    np.testing.assert_allclose(out.latents.detach(), latents, rtol=1e-4, atol=1e-5)
    rebuilt = latents @ (a["W_dec"] * math.sqrt(D)) + a["b_dec"]
    np.testing.assert_allclose(out.reconstruction.detach(), rebuilt, rtol=1e-4, atol=1e-4)
    assert sae.config.layer is None


def test_one_that_reads_no_residual_stream_fits_no_backbone(tmp_path):
    sae = SparseAutoencoder.load(write_gemma_scope(tmp_path, repository="gemma-scope-9b-it-mlp"))
    assert sae.config.model_name == "google/gemma-2-9b-it"
    with pytest.raises(MismatchError, match="hook_mlp_out"):
        sae.check_belongs("google/gemma-2-9b-it", 16, D)


def test_a_compressed_file_reads_the_same(tmp_path):
    plain = SparseAutoencoder.load(write_gemma_scope(tmp_path / "plain"))
    packed = SparseAutoencoder.load(write_gemma_scope(tmp_path / "packed", compressed=True))
    for ours, theirs in zip(plain.parameters(), packed.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_arrays_are_mapped_where_they_are_aligned_and_read_where_not(tmp_path):
    """numpy.savez: the data of the first begins at byte 187, 59 bytes of zip header and 128 of npy; the fourth fits."""
    wanted = {name: np.random.default_rng(i).normal(size=(D, N)).astype("f4") for i, name in enumerate("abcd")}
    np.savez(tmp_path / "arrays.npz", **{f"name{name}": array for name, array in wanted.items()})
    read = Npz(tmp_path / "arrays.npz")
    assert set(read) == {"namea", "nameb", "namec", "named"}
    for name, array in wanted.items():
        np.testing.assert_array_equal(read[f"name{name}"].numpy(), array)
        assert read[f"name{name}"].data_ptr() % 4 == 0
    before = read["named"].clone()
    mapped, held = read["named"], read["namea"]
    with (tmp_path / "arrays.npz").open("r+b") as file:  # seen through a mapping alone
        whole = file.read()
        for array in wanted.values():
            file.seek(whole.index(array.tobytes()))
            file.write((array + 1).tobytes())
    torch.testing.assert_close(mapped, before + 1)
    np.testing.assert_array_equal(held.numpy(), wanted["a"])


def test_arrays_by_columns_and_of_other_dtypes(tmp_path):
    table = np.random.default_rng(1).normal(size=(D, N))
    np.savez(tmp_path / "arrays.npz", columns=np.asfortranarray(table), half=table.astype("f2"))
    read = Npz(tmp_path / "arrays.npz")
    np.testing.assert_array_equal(read["columns"].numpy(), table)
    assert read["half"].dtype == torch.float16
    np.savez(tmp_path / "objects.npz", W_enc=np.array([{}, None]))
    with pytest.raises(InputError, match="Python objects"):
        Npz(tmp_path / "objects.npz")["W_enc"]
