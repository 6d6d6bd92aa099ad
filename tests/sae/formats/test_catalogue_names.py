"""A name of the catalogue becomes a download, a format and what the files do not say; a fake hub serves tiny files."""

import json

import pytest
import torch
from safetensors.torch import save_file

from saelex.errors import InputError, MismatchError
from saelex.sae import catalogue
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.formats.registry import FORMATS

D, N = 8, 20
NAME = "gemma-scope-2/1b-pt/13/65k/medium"


@pytest.fixture
def small(monkeypatch):
    """The catalogue with shapes that a test can write."""
    monkeypatch.setattr(catalogue.CatalogueEntry, "d_model", D)
    monkeypatch.setattr(catalogue.CatalogueEntry, "n_latents", N)


def serve(monkeypatch, root, **config):
    """A hub that has the SAE of NAME; returns what was asked of it."""
    asked = []

    def snapshot_download(repo, *, revision, token, allow_patterns):
        asked.append((repo, allow_patterns))
        return str(root / repo)

    entry = catalogue.find(NAME)
    folder = root / entry.repo / entry.path_in_repo
    folder.mkdir(parents=True)
    values = {"architecture": "jump_relu", "model_name": "google/gemma-3-1b-pt",
              "hf_hook_point_in": "model.layers.13.output", **config}  # fmt: skip
    (folder / "config.json").write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    generator = torch.Generator().manual_seed(0)
    shapes = {"w_enc": (D, N), "w_dec": (N, D), "b_enc": (N,), "b_dec": (D,), "threshold": (N,)}
    save_file({k: torch.randn(v, generator=generator) for k, v in shapes.items()}, folder / "params.safetensors")
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return asked


def test_a_short_name_is_downloaded_and_completed(tmp_path, monkeypatch, small):
    asked = serve(monkeypatch, tmp_path)
    sae = SparseAutoencoder.load(NAME)
    assert [repo for repo, _ in asked] == ["google/gemma-scope-2-1b-pt"]
    assert all(pattern.startswith("resid_post") for pattern in asked[0][1])
    assert (sae.config.model_name, sae.config.layer) == ("google/gemma-3-1b-pt", 13)
    with pytest.raises(MismatchError, match="gemma-3-1b-pt"):
        sae.check_belongs("google/gemma-3-4b-pt", 13, D)


def test_files_of_another_sae_are_refused(tmp_path, monkeypatch, small):
    serve(monkeypatch, tmp_path, model_name="google/gemma-3-4b-pt")
    with pytest.raises(MismatchError, match="another SAE"):
        SparseAutoencoder.load(NAME)


def test_without_a_hub_the_error_names_what_is_missing(monkeypatch):
    def offline(*_, **__):
        raise OSError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(InputError, match=r"google/gemma-scope-2-1b-pt/resid_post\S* cannot be had .*offline"):
        SparseAutoencoder.load(NAME)


def test_an_almost_right_name_is_corrected():
    with pytest.raises(InputError, match="gemma-scope/2b/16/65k"):
        SparseAutoencoder.load("gemma-scope/2b/16/65k/127")


def test_every_suite_is_in_a_format_that_is_read():
    known = {known.name for known in FORMATS}
    assert {suite.format for suite in catalogue.suites()} <= known
