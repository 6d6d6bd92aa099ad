"""Qwen-Scope's files against the formula of its model cards."""

import pytest
import torch
from tests.sae.formats.builders import states, write_json
from tests.sae.formats.library_builders import WIDE, qwen_scope_tensors, write_qwen_scope

from saelex.errors import InputError
from saelex.sae.autoencoder import SparseAutoencoder


@pytest.mark.parametrize(
    ("repository", "k"), [("SAE-Res-Qwen3-1.7B-Base-W1K-L0_50", 50), ("SAE-Res-Qwen3.5-27B-W1K-L0_100", 100)]
)
def test_it_equals_its_formula(repository, k, tmp_path):
    t = {name: tensor.double() for name, tensor in qwen_scope_tensors().items()}
    pre = states().double() @ t["W_enc"].T + t["b_enc"]
    kept = pre.topk(k)
    expected = torch.zeros_like(pre).scatter(1, kept.indices, kept.values)
    assert float(kept.values.min()) > 0  # exactly k fire
    sae = SparseAutoencoder.load(write_qwen_scope(tmp_path, repository=repository))
    out = sae(states())
    torch.testing.assert_close(out.latents.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.reconstruction.double(), expected @ t["W_dec"].T + t["b_dec"], rtol=1e-5, atol=1e-4)
    assert sae.config.model_name == "Qwen/" + repository.removeprefix("SAE-Res-").split("-W1K")[0]
    assert (sae.config.layer, sae.config.hook_name) == (14, "blocks.14.hook_resid_post")


def test_one_layer_among_many_is_named(tmp_path):
    path = write_qwen_scope(tmp_path)
    (path.parent / "layer9.sae.pt").write_bytes(path.read_bytes())
    assert SparseAutoencoder.load(path.parent, "layer9.sae.pt").config.layer == 9
    with pytest.raises(InputError, match=r"holds 2 SAEs \(layer14.sae.pt, layer9.sae.pt\)"):
        SparseAutoencoder.load(path.parent)


def test_the_only_layer_needs_no_name(tmp_path):
    assert SparseAutoencoder.load(write_qwen_scope(tmp_path).parent).config.layer == 14


def test_a_renamed_folder_says_k_in_a_configuration(tmp_path):
    path = write_qwen_scope(tmp_path, repository="mine")
    with pytest.raises(InputError, match="keep that name for the folder") as error:
        SparseAutoencoder.load(path)
    assert "\n" not in str(error.value)
    write_json(path.parent / "config.json", {"k": 7, "model_name": "Qwen/Qwen3-1.7B-Base"})
    sae = SparseAutoencoder.load(path)
    assert (sae.activation.k, sae.config.model_name) == (7, "Qwen/Qwen3-1.7B-Base")


def test_a_file_of_another_width_is_refused(tmp_path):
    with pytest.raises(InputError, match=f"W_enc has {WIDE} latents, not the 32768"):
        SparseAutoencoder.load(write_qwen_scope(tmp_path, repository="SAE-Res-Qwen3-1.7B-Base-W32K-L0_50"))


def test_the_hubs_cache_keeps_the_name(tmp_path):
    repository = "models--Qwen--SAE-Res-Qwen3-1.7B-Base-W1K-L0_50/snapshots/0e9e39f2"
    assert SparseAutoencoder.load(write_qwen_scope(tmp_path, repository=repository)).activation.k == 50
