"""What the readers take from published names is what the catalogue says of the same suites."""

import pytest
import torch
from tests.sae.formats.builders import D, N, write_json
from tests.sae.formats.library_builders import (
    goodfire_tensors,
    save_pt,
    sparsify_tensors,
    write_batch_topk_dictionary,
    write_sparsify,
)

from saelex.sae import catalogue
from saelex.sae.autoencoder import SparseAutoencoder

SUITES = [suite for suite in catalogue.suites() if suite.format in ("qwen_scope", "goodfire", "sparsify")]


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_model_layer_and_k_are_in_the_names(suite, tmp_path, monkeypatch):
    entry = next(suite.entries())
    n_latents = entry.n_latents if suite.format == "qwen_scope" else N
    monkeypatch.setattr(catalogue.CatalogueEntry, "d_model", D)
    monkeypatch.setattr(catalogue.CatalogueEntry, "n_latents", n_latents)
    place = tmp_path / entry.repo / entry.path_in_repo
    if suite.format == "sparsify":
        made = write_sparsify(tmp_path / "made", sparsify_tensors())
        place.parent.mkdir(parents=True)
        made.rename(place)
    elif suite.format == "goodfire":
        save_pt(goodfire_tensors(), place)
    else:
        shapes = {"W_enc": (n_latents, D), "W_dec": (D, n_latents), "b_enc": (n_latents,), "b_dec": (D,)}
        save_pt({name: torch.zeros(shape) for name, shape in shapes.items()}, place)
    read = SparseAutoencoder.load(place, decoder=False).config
    assert entry.model.is_called(read.model_name)
    assert read.layer == entry.layer
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repo, **_: str(tmp_path / repo))
    sae = SparseAutoencoder.load(entry.id, decoder=False)
    assert (sae.config.model_name, sae.config.layer) == (entry.model.name, entry.layer)
    if suite.format == "qwen_scope":
        assert str(sae.activation.k) in entry.repo.split("-L0_")


def test_a_dictionary_of_the_catalogue_is_completed(tmp_path, monkeypatch):
    """A suite whose files say layer and model themselves: the catalogue's name replaces theirs."""
    entry = next(e for s in catalogue.suites() if s.format == "dictionary_learning" for e in s.entries())
    monkeypatch.setattr(catalogue.CatalogueEntry, "d_model", D)
    monkeypatch.setattr(catalogue.CatalogueEntry, "n_latents", N)
    folder = write_batch_topk_dictionary(tmp_path / "made")
    place = tmp_path / entry.repo / entry.path_in_repo
    place.parent.mkdir(parents=True)
    folder.rename(place)
    trainer = {"dict_class": "BatchTopKSAE", "layer": entry.layer, "lm_name": entry.model.name}
    write_json(place / "config.json", {"trainer": trainer})
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repo, **_: str(tmp_path / repo))
    sae = SparseAutoencoder.load(entry.id, decoder=False)
    assert (sae.config.model_name, sae.config.layer) == (entry.model.name, entry.layer)
