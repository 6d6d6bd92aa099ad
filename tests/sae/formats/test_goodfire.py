"""Goodfire's and qresearch's files against the formula of two linear layers with a ReLU between them."""

import pytest
import torch
from tests.sae.formats.builders import states
from tests.sae.formats.library_builders import (
    deepseek_tensors,
    goodfire_tensors,
    save_pt,
    write_deepseek,
    write_goodfire,
)

from saelex.errors import InputError
from saelex.sae.autoencoder import SparseAutoencoder


@pytest.mark.parametrize(
    ("write", "tensors", "suffix"),
    [(write_goodfire, goodfire_tensors, "_linear"), (write_deepseek, deepseek_tensors, "")],
)
def test_it_equals_its_formula(write, tensors, suffix, tmp_path):
    t = {name: tensor.double() for name, tensor in tensors().items()}
    latents = (states().double() @ t[f"encoder{suffix}.weight"].T + t[f"encoder{suffix}.bias"]).relu()
    rebuilt = latents @ t[f"decoder{suffix}.weight"].T + t[f"decoder{suffix}.bias"]
    sae = SparseAutoencoder.load(write(tmp_path))
    out = sae(states())
    torch.testing.assert_close(out.latents.double(), latents, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.reconstruction.double(), rebuilt, rtol=1e-5, atol=1e-4)
    assert sae.W_enc.dtype == tensors()[f"encoder{suffix}.weight"].dtype
    assert sae.config.hook_name == "blocks.19.hook_resid_post"


def test_the_folder_of_one_file_is_enough(tmp_path):
    assert SparseAutoencoder.load(write_goodfire(tmp_path).parent).config.layer == 19


def test_another_kind_of_file_is_named_by_what_it_holds(tmp_path):
    path = save_pt({"weight": torch.ones(3)}, tmp_path / "Some-Model-SAE-l3.pt")
    with pytest.raises(InputError, match=r"lacks encoder.weight \(it holds weight\)"):
        SparseAutoencoder.load(path)
