"""Which format a folder or a hub id is."""

import json

import pytest
from tests.sae.formats.builders import write_gemma_scope, write_openmoss
from tests.sae.formats.library_builders import BUILDERS

from saelex.errors import InputError
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.formats.registry import FORMATS


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda builder: builder.write.__name__)
def test_a_checkpoint_is_recognised_as_its_own_format_first(tmp_path, builder):
    path = builder.write(tmp_path)
    folder, file = (path, None) if path.is_dir() else (path.parent, path)
    assert [known.name for known in FORMATS if known.recognises(folder, file)][:1] == [builder.name]


def test_sae_weights_of_saelens_and_of_openmoss(tmp_path):
    """Both call their weights sae_weights.safetensors; the configurations have different names."""
    folder = write_openmoss(tmp_path)
    assert SparseAutoencoder.load(folder).config.metadata == {"activation_scale": "raw"}
    (folder / "config.json").rename(folder / "cfg.json")
    with pytest.raises(InputError, match=r"cfg\.json: "):
        SparseAutoencoder.load(folder)


def test_what_is_no_sae_says_what_would_be(tmp_path):
    with pytest.raises(InputError, match=r"params\.npz"):
        SparseAutoencoder.load(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        SparseAutoencoder.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="unknown SAE format 'saelense'"):
        SparseAutoencoder.load(tmp_path, format="saelense")
    with pytest.raises(InputError, match="llama_scope: hyperparams"):
        SparseAutoencoder.load(write_gemma_scope(tmp_path), format="llama_scope")
    with pytest.raises(InputError, match="activation_scale is raw for gemma_scope"):
        SparseAutoencoder.load(write_gemma_scope(tmp_path / "b"), activation_scale="normalised")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({"model_type": "gemma2"}))
    with pytest.raises(InputError, match="no SAE here"):
        SparseAutoencoder.load(tmp_path / "other")


def test_from_the_hub_only_this_saes_files_are_fetched(tmp_path, monkeypatch):
    write_gemma_scope(tmp_path)
    asked = {}

    def snapshot_download(repo, *, revision, token, allow_patterns):
        asked.update(repo=repo, revision=revision, patterns=allow_patterns)
        return str(tmp_path / "gemma-scope-2b-pt-res")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    sae = SparseAutoencoder.load(
        "someone/gemma-scope-2b-pt-res", "layer_16/width_65k/average_l0_128/params.npz", revision="main"
    )
    assert (asked["repo"], asked["revision"]) == ("someone/gemma-scope-2b-pt-res", "main")
    assert "layer_16/width_65k/average_l0_128/params.npz" in asked["patterns"]
    assert not any("*" in pattern for pattern in asked["patterns"])
    assert (sae.config.model_name, sae.config.layer) == ("google/gemma-2-2b", 16)


def test_a_repository_of_many_saes_wants_a_file_named(tmp_path, monkeypatch):
    held = [f"layer{layer}.sae.pt" for layer in range(3)]
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", lambda self, repo, revision: held)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("nothing is to be fetched"))
    with pytest.raises(InputError, match=r"holds 3 SAEs; name one file, such as layer0\.sae\.pt"):
        SparseAutoencoder.load("someone/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50")


def test_the_only_sae_of_a_repository_needs_no_name(tmp_path, monkeypatch):
    held = ["README.md", "layer7.sae.pt", "notes/layer8.sae.pt.md"]
    asked = {}

    def snapshot_download(repo, *, revision, token, allow_patterns):
        asked["patterns"] = allow_patterns
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", lambda self, repo, revision: held)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(InputError, match="no SAE here"):  # the fake hub has no files
        SparseAutoencoder.load("someone/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50")
    assert "layer7.sae.pt" in asked["patterns"]
    assert not any("*" in pattern for pattern in asked["patterns"])
