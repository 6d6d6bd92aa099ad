"""SAELens' own layout, both ways: what it saves we load, what we save it loads; both compute the same."""

from __future__ import annotations

import json

import pytest
import torch

pytest.importorskip("sae_lens", reason="compares with sae-lens: make parity")

from sae_lens import SAE
from tests.parity.sae_lens_side import agree, made
from tests.sae.formats.builders import D, N, normal, states
from tests.sae.formats.library_builders import BUILDERS, saelens_tensors, write_saelens

from saelex.sae.activations import JumpReLU, ReLU, TopK
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.config import SaeConfig
from saelex.sae.normalisation import TokenNorm

ARCHITECTURES = [
    ("standard", {}),
    ("gated", {}),
    ("jumprelu", {}),
    ("topk", {"k": 4}),
    ("topk", {"k": 4, "rescale_acts_by_decoder_norm": True}),
]
NORMS = ["none", "layer_norm", "constant_norm_rescale"]


@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("architecture", "settings"), ARCHITECTURES)
def test_what_sae_lens_saves(architecture, settings, norm, subtract, tmp_path):
    theirs = made(architecture, normalize_activations=norm, apply_b_dec_to_input=subtract, **settings)
    theirs.save_model(tmp_path)
    ours = SparseAutoencoder.load(tmp_path)
    agree(ours, theirs)
    assert (ours.config.model_name, ours.config.layer) == ("gpt2-small", 2)


@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize(("architecture", "settings"), ARCHITECTURES)
def test_the_factor_that_sae_lens_folds(architecture, settings, subtract, tmp_path):
    theirs = made(architecture, apply_b_dec_to_input=subtract, **settings)
    theirs.cfg.normalize_activations = "expected_average_only_in"
    theirs.save_model(tmp_path)
    values = json.loads((tmp_path / "cfg.json").read_text())
    (tmp_path / "cfg.json").write_text(json.dumps({**values, "norm_scaling_factor": 0.6}))
    theirs.fold_activation_norm_scaling_factor(0.6)
    agree(SparseAutoencoder.load(tmp_path), theirs)


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("topk", {"k": 4}),
        ("batchtopk", {"k": 4.0}),
        ("matryoshka_batchtopk", {"k": 4.0, "matryoshka_widths": [5, N]}),
        ("jumprelu", {}),
        ("gated", {}),
        ("standard", {}),
    ],
)
def test_a_checkpoint_of_a_training_and_what_it_ends_as(architecture, settings, rescale, tmp_path):
    """The two files differ (norms folded or not, BatchTopK turned into JumpReLU), what they compute does not."""
    if "topk" in architecture:
        settings = {**settings, "rescale_acts_by_decoder_norm": rescale}
    training = made(architecture, training=True, **settings)
    training.save_model(tmp_path / "checkpoint")
    training.save_inference_model(tmp_path / "final")
    theirs = SAE.load_from_disk(tmp_path / "final").eval()
    agree(SparseAutoencoder.load(tmp_path / "final"), theirs)
    agree(SparseAutoencoder.load(tmp_path / "checkpoint"), theirs)


@pytest.mark.parametrize("factor", [0.6, 2.5])
@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
def test_a_checkpoint_of_a_training_with_a_factor(architecture, factor, tmp_path):
    training = made(architecture, training=True, k=4, rescale_acts_by_decoder_norm=True)
    training.cfg.normalize_activations = "expected_average_only_in"
    training.save_model(tmp_path / "checkpoint")
    values = json.loads((tmp_path / "checkpoint" / "cfg.json").read_text())
    (tmp_path / "checkpoint" / "cfg.json").write_text(json.dumps({**values, "norm_scaling_factor": factor}))
    training.fold_activation_norm_scaling_factor(factor)
    training.save_inference_model(tmp_path / "final")
    theirs = SAE.load_from_disk(tmp_path / "final").eval()
    agree(SparseAutoencoder.load(tmp_path / "checkpoint"), theirs)


@pytest.mark.parametrize(
    ("changes", "vectors"),
    [
        ({"activation_fn_str": "relu", "hook_point": "blocks.2.hook_resid_post"}, ("b_enc",)),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4}}, ("b_enc",)),
        ({"architecture": "jumprelu", "activation_fn": "relu", "apply_b_dec_to_input": False}, ("b_enc", "threshold")),
        ({"architecture": "gated", "activation_fn": "relu"}, ("b_gate", "b_mag", "r_mag")),
        ({"normalize_activations": "layer_norm"}, ("b_enc",)),
        ({"normalize_activations": False}, ("b_enc",)),
    ],
)
def test_configurations_before_version_6(changes, vectors, tmp_path):
    config = {
        "d_in": D, "d_sae": N, "dtype": "float32", "model_name": "gpt2-small", "hook_name": "blocks.2.hook_resid_post",
        "sae_lens_training_version": "3.18.2", **changes,
    }  # fmt: skip
    write_saelens(tmp_path, config, saelens_tensors(*vectors))
    theirs = SAE.load_from_disk(tmp_path).eval()
    ours = SparseAutoencoder.load(tmp_path)
    agree(ours, theirs)
    assert ours.config.hook_name == theirs.cfg.metadata.hook_name


SCALE = torch.linspace(0.4, 2, N)


@pytest.mark.parametrize("gate", [ReLU(), JumpReLU(normal(N, seed=5).abs()), JumpReLU(torch.tensor([0.3])), TopK(3)])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"apply_b_dec_to_input": True, "encoder_scale": SCALE},
        {"encoder_scale": SCALE, "decoder_scale": 1 / SCALE},
        {"input_norm": TokenNorm("layer_norm"), "apply_b_dec_to_input": True},
        {"input_norm": TokenNorm("constant_norm"), "decoder_scale": SCALE},
    ],
)
def test_what_we_save(gate, changes, tmp_path):
    t = saelens_tensors("b_enc")
    config = SaeConfig(D, N, "gpt2-small", 2, "blocks.2.hook_resid_post", metadata={"prepend_bos": True})
    ours = SparseAutoencoder(t["W_enc"], t["b_enc"], t["W_dec"], t["b_dec"], gate, config, **changes)
    ours.save(tmp_path)
    theirs = SAE.load_from_disk(tmp_path).eval()
    agree(ours, theirs)
    metadata = theirs.cfg.metadata
    assert (metadata.model_name, metadata.hook_name, metadata.prepend_bos) == (
        "gpt2-small", "blocks.2.hook_resid_post", True,
    )  # fmt: skip


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda builder: builder.write.__name__)
def test_every_suite_that_we_save(builder, tmp_path):
    """Any published SAE, loaded here and saved, is the same SAE in sae-lens; bfloat16 is its to round as it likes."""
    ours = SparseAutoencoder.load(builder.write(tmp_path / "published"))
    ours.save(tmp_path / "saved")
    agree(ours, SAE.load_from_disk(tmp_path / "saved", dtype="float32").eval())


def test_half_precision_weights_that_we_save(tmp_path):
    t = saelens_tensors("b_enc")
    matrices = t["W_enc"].bfloat16(), t["b_enc"], t["W_dec"].bfloat16()
    ours = SparseAutoencoder(*matrices, t["b_dec"], ReLU(), SaeConfig(D, N))
    ours.save(tmp_path)
    theirs = SAE.load_from_disk(tmp_path)
    assert theirs.W_enc.dtype == torch.bfloat16
    assert torch.equal(theirs.W_enc, ours.W_enc) and torch.equal(theirs.W_dec, ours.W_dec)
    with torch.no_grad():
        latents = theirs.encode(states()).float()
    torch.testing.assert_close(latents, ours.encode(states()).detach(), rtol=0.02, atol=0.1)
