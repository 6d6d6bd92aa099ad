"""Other suites' files as sae-lens' loaders read them: the same SAE, or the exact relation where we mean to differ."""

from __future__ import annotations

import math

import pytest
import torch

pytest.importorskip("sae_lens", reason="compares with sae-lens: make parity")

from sae_lens.loading import pretrained_sae_loaders as loaders
from tests.parity.sae_lens_side import agree, built, loaded, local_hub
from tests.sae.formats.builders import (
    D,
    N,
    llama_scope_tensors,
    r1_distill_tensors,
    states,
    write_gemma_scope,
    write_gemma_scope_2,
    write_llama_scope,
    write_r1_distill,
)
from tests.sae.formats.library_builders import (
    WIDE,
    dictionary_learning_tensors,
    save_pt,
    sparsify_tensors,
    write_deepseek,
    write_dictionary_learning,
    write_goodfire,
    write_qwen_scope,
    write_sparsify,
)

from saelex.sae.autoencoder import SparseAutoencoder

OF_OURS = {"d_in": D, "d_sae": N}  # sae-lens knows the real suites' widths by heart


@pytest.fixture
def hub(tmp_path, monkeypatch):
    local_hub(monkeypatch, tmp_path)
    return tmp_path


def same_place(ours, theirs):
    metadata = theirs.cfg.metadata
    assert ours.config.hook_name == metadata.hook_name
    assert ours.config.model_name.split("/")[-1].lower() == metadata.model_name.split("/")[-1].lower()


def test_gemma_scope(hub):
    ours = SparseAutoencoder.load(write_gemma_scope(hub))
    theirs = loaded(
        loaders.gemma_2_sae_huggingface_loader,
        "google/gemma-scope-2b-pt-res",
        "layer_16/width_65k/average_l0_128",
        **OF_OURS,
    )
    agree(ours, theirs)
    same_place(ours, theirs)


def test_gemma_scope_2(hub):
    ours = SparseAutoencoder.load(write_gemma_scope_2(hub))
    theirs = loaded(
        loaders.gemma_3_sae_huggingface_loader,
        "google/gemma-scope-2-1b-pt",
        "resid_post/layer_13_width_65k_l0_medium",
    )
    agree(ours, theirs)
    same_place(ours, theirs)


def test_goodfire(hub):
    path = write_goodfire(hub)
    ours = SparseAutoencoder.load(path)
    theirs = loaded(loaders.get_goodfire_huggingface_loader, f"Goodfire/{path.parent.name}", path.name, **OF_OURS)
    agree(ours, theirs)
    same_place(ours, theirs)


def test_deepseek_r1(hub):
    path = write_deepseek(hub)
    ours = SparseAutoencoder.load(path)
    theirs = loaded(loaders.deepseek_r1_sae_huggingface_loader, f"qresearch/{path.parent.name}", path.name, **OF_OURS)
    agree(ours, theirs)
    same_place(ours, theirs)


def test_qwen_scope(hub):
    path = write_qwen_scope(hub)
    ours = SparseAutoencoder.load(path)
    theirs = loaded(
        loaders.qwen_scope_sae_huggingface_loader, f"Qwen/{path.parent.name}", path.name, d_in=D, d_sae=WIDE
    )
    agree(ours, theirs)
    same_place(ours, theirs)


@pytest.mark.parametrize(
    "dict_class",
    [
        "AutoEncoder",
        "GatedAutoEncoder",
        "AutoEncoderTopK",
        "BatchTopKSAE",
        "MatryoshkaBatchTopKSAE",
        "JumpReluAutoEncoder",
    ],
)
def test_dictionary_learning(dict_class, hub):
    folder = write_dictionary_learning(hub / "run", dict_class)
    ours = SparseAutoencoder.load(folder)
    theirs = loaded(
        loaders.dictionary_learning_sae_huggingface_loader_1,
        "someone/run",
        str(folder.relative_to(hub / "run")),
    )
    agree(ours, theirs)
    same_place(ours, theirs)


def test_the_bias_that_dictionary_learning_does_not_subtract(hub):
    """AutoEncoderNew: sae-lens takes it for an AutoEncoder without a bias, which it cannot load; we read decoder.bias.

    With the bias under the name of the other class, sae-lens subtracts it, which the library does not.
    """
    folder = write_dictionary_learning(hub / "run", "AutoEncoderNew")
    ours = SparseAutoencoder.load(folder)
    tensors = dictionary_learning_tensors("AutoEncoderNew")
    save_pt({**tensors, "bias": tensors["decoder.bias"]}, folder / "ae.pt")
    theirs = loaded(
        loaders.dictionary_learning_sae_huggingface_loader_1,
        "someone/run",
        str(folder.relative_to(hub / "run")),
    )
    x = states()
    torch.testing.assert_close(ours.encode(x), theirs.encode(x + tensors["decoder.bias"]), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(ours.encode(x), theirs.encode(x), atol=0.1)


@pytest.mark.parametrize("normalize_decoder", [False, True])
def test_the_bias_that_sparsify_subtracts(normalize_decoder, hub):
    """sparsify subtracts b_dec always, sae-lens' loader only where normalize_decoder is false.

    The loader also transposes W_dec, which sparsify writes as [latents, dimensions]; here it is put right before use.
    """
    folder = write_sparsify(hub, normalize_decoder=normalize_decoder)
    ours = SparseAutoencoder.load(folder)
    config, state = loaders.sparsify_disk_loader(folder, "cpu", {"dtype": "float32"})
    state["W_dec"] = sparsify_tensors()["W_dec"]
    theirs = built(config, state)
    x = states()
    assert theirs.cfg.apply_b_dec_to_input is not normalize_decoder
    if not normalize_decoder:
        agree(ours, theirs)
    else:
        b_dec = sparsify_tensors()["b_dec"]
        torch.testing.assert_close(ours.encode(x), theirs.encode(x - b_dec), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(ours.encode(x), theirs.encode(x), atol=0.1)
    assert ours.config.hook_name == theirs.cfg.metadata.hook_name


def unit_columns(tensors):
    weight = tensors["decoder.weight"].float()
    return {**tensors, "decoder.weight": weight / weight.norm(dim=0)}


def llama_scope(hub, tensors, norm):
    """Both sides' SAE of a Llama Scope file, sae-lens' with the factor folded, and that factor."""
    folder = write_llama_scope(
        hub / "Llama3_1-8B-Base-LXR-32x",
        {name: tensor.float() for name, tensor in tensors.items()},
        dataset_average_activation_norm={"in": norm, "out": norm},
    )
    theirs = loaded(loaders.llama_scope_sae_huggingface_loader, "fnlp/Llama3_1-8B-Base-LXR-32x", folder.name)
    factor = math.sqrt(D) / norm
    theirs.fold_activation_norm_scaling_factor(factor)
    return folder, theirs, factor


def test_llama_scopes_scale(hub):
    """With a decoder of unit columns "normalised" is sae-lens' scale, and "raw" (OpenMOSS' own) that over s."""
    folder, theirs, s = llama_scope(hub, unit_columns(llama_scope_tensors()), norm=5.5)
    agree(SparseAutoencoder.load(folder, activation_scale="normalised"), theirs)
    raw = SparseAutoencoder.load(folder)
    x = states()
    torch.testing.assert_close(raw.encode(x), theirs.encode(x) / s, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(raw(x).reconstruction, theirs(x), rtol=1e-4, atol=1e-3)
    same_place(raw, theirs)


def test_llama_scopes_decoder_norms(hub):
    """Else sae-lens leaves out the norms n of the decoder's columns: what our gate sees is n / s times sae-lens'."""
    folder, theirs, s = llama_scope(hub, llama_scope_tensors(), norm=5.5)
    norms = llama_scope_tensors()["decoder.weight"].float().norm(dim=0)
    x = states()
    pre = x @ theirs.W_enc + theirs.b_enc
    ours = SparseAutoencoder.load(folder).pre_activations(x)
    torch.testing.assert_close(ours, pre * norms / s, rtol=1e-4, atol=1e-4)


def test_llama_scope_r1_distill(hub):
    """As Llama Scope, but sae-lens' loader compares before any factor: with it, the same up to s."""
    norm = 5.5
    folder = write_r1_distill(hub, unit_columns(r1_distill_tensors()))
    ours = SparseAutoencoder.load(folder)
    theirs = loaded(
        loaders.llama_scope_r1_distill_sae_huggingface_loader,
        "fnlp/Llama-Scope-R1-Distill",
        "400M-Slimpajama-400M-OpenR1-Math-220k/L15R",
        d_sae=N,
    )
    s = math.sqrt(D) / norm
    theirs.fold_activation_norm_scaling_factor(s)
    x = states()
    torch.testing.assert_close(ours.encode(x), theirs.encode(x) / s, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours(x).reconstruction, theirs(x), rtol=1e-4, atol=1e-3)
    assert ours.config.hook_name == theirs.cfg.metadata.hook_name
    assert ours.config.model_name != theirs.cfg.metadata.model_name  # sae-lens says Llama-3.1-8B, which it was not
