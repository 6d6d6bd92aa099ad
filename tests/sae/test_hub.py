import json
from pathlib import Path

import pytest
import torch
import yaml

from saelex.errors import InputError
from saelex.sae.activations import JumpReLU, TopK
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.config import SaeConfig
from saelex.sae.hub import export_sae
from saelex.sae.model_card import known_metrics, model_card, training_log

D, N = 6, 15


def sae(activation=None, **config):
    generator = torch.Generator().manual_seed(0)
    shapes = ((D, N), (N,), (N, D), (D,))
    values = {"model_name": "owner/some-model", "layer": 2, "hook_name": "blocks.2.hook_resid_post", **config}
    tensors = [torch.randn(*shape, generator=generator) for shape in shapes]
    return SparseAutoencoder(*tensors, activation or TopK(4), SaeConfig(D, N, **values), apply_b_dec_to_input=True)


def front_and_body(card):
    _, front, body = card.split("---\n", 2)
    return yaml.safe_load(front), body


def states():
    return torch.randn(20, D, generator=torch.Generator().manual_seed(1))


def test_card_tells_what_is_known():
    metadata = {"data": ["owner/data", "notes.jsonl"], "tokens": 2_000_000}
    front, body = front_and_body(
        model_card(
            sae(metadata=metadata, source="/home/me/sae").parts, "me/my-sae",
            metrics={"fvu": 0.25, "dead_share": 0.015}, licence="apache-2.0",
        )
    )  # fmt: skip
    assert front == {
        "library_name": "saelens",
        "tags": ["saelex", "saelens", "sparse-autoencoder", "interpretability"],
        "base_model": "owner/some-model",
        "license": "apache-2.0",
        "datasets": ["owner/data"],
    }
    assert body.lstrip().startswith("# my-sae\n")
    for line in (
        "| Language model | owner/some-model |", "| Layer | output of block 2 |", "| Latents | 15 |",
        "| Gate | TopK, k=4 |", "| Input | less the decoder's bias |", "| Trained on | owner/data, notes.jsonl |",
        "| Trained for | 2,000,000 tokens |", "| Fraction of variance unexplained | 0.25 |",
        "| Dead latents | 1.50 % |",
        'SparseAutoencoder.load("me/my-sae")', 'Encoder.from_sae("owner/some-model", sae="me/my-sae")',
        'SAE.load_from_disk(snapshot_download("me/my-sae"))',
    ):  # fmt: skip
        assert line in body
    assert "/home/me" not in body


def test_card_of_a_converted_sae_leaves_out_what_is_not_known():
    own = sae(JumpReLU(torch.ones(N)), model_name="gemma-2-2b", source="gemma-scope/2b/16/65k/128")
    front, body = front_and_body(model_card(own.parts, "one"))
    assert set(front) == {"library_name", "tags"}  # a model's name without its owner is no hub id
    assert "| Made from | `gemma-scope/2b/16/65k/128` |" in body and "| Gate | JumpReLU |" in body
    assert "Trained" not in body and "variance" not in body
    local = model_card(sae(model_name="/home/me/models/own").parts, "one")
    assert "/home" not in local and "| Language model | own |" in local
    assert 'SAE.load_from_disk("one")' in body and "huggingface_hub" not in body


def test_an_export_loads_back_and_replaces_only_an_export(tmp_path):
    folder = tmp_path / "deep" / "sae"
    own = sae()
    export_sae(own.parts, folder, licence="mit")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "cfg.json", "sae_weights.safetensors"]
    for one, other in zip(own(states()), SparseAutoencoder.load(folder)(states())):
        torch.testing.assert_close(one, other)
    assert "license: mit" in (folder / "README.md").read_text()
    export_sae(own.parts, folder, card="mine")
    assert (folder / "README.md").read_text() == "mine"
    (folder / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="no exported SAE"):
        export_sae(own.parts, folder)
    assert (folder / "README.md").read_text() == "mine"
    assert [path.name for path in folder.parent.iterdir()] == ["sae"]


def test_an_export_that_fails_leaves_nothing(tmp_path):
    own = sae()
    own.W_dec.data[3, 2] = 1e6
    with pytest.raises(InputError, match="decoder's weights are not all finite"):
        export_sae(own.to(dtype=torch.float16).parts, tmp_path / "sae")
    bare = sae()
    bare.W_dec = None
    with pytest.raises(InputError, match="decoder=True"):
        export_sae(bare.parts, tmp_path / "sae")
    assert list(tmp_path.iterdir()) == []


class Hub:
    """What HfApi is asked to do."""

    def __init__(self, calls):
        self.calls = calls

    def __call__(self, token):
        self.calls["token"] = token
        return self

    def create_repo(self, repo, **options):
        self.calls["created"] = (repo, options)

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        self.calls["repo"] = repo_id
        self.calls["files"] = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
        return "https://hub/commit/1"


def test_push_uploads_what_an_export_writes(tmp_path, monkeypatch):
    calls = {}
    monkeypatch.setattr("huggingface_hub.HfApi", Hub(calls))
    own = sae()
    assert own.push_to_hub("me/sae", private=True, token="secret", licence="mit") == "https://hub/commit/1"
    assert calls["token"] == "secret" and calls["repo"] == "me/sae"
    assert calls["created"] == ("me/sae", {"private": True, "exist_ok": True})
    for name, content in calls["files"].items():
        (tmp_path / name).write_bytes(content)
    assert 'SparseAutoencoder.load("me/sae")' in (tmp_path / "README.md").read_text()
    for one, other in zip(own(states()), SparseAutoencoder.load(tmp_path)(states())):
        torch.testing.assert_close(one, other)


def test_a_refusal_of_the_hub_is_one_line(monkeypatch):
    from huggingface_hub.errors import HFValidationError

    class Refusing(Hub):
        def create_repo(self, repo, **options):
            raise HFValidationError("no such name\nand more")

    monkeypatch.setattr("huggingface_hub.HfApi", Refusing({}))
    with pytest.raises(InputError, match=r"me/sae: the hub refuses the upload \(no such name\)"):
        sae().push_to_hub("me/sae")


def test_metrics_for_a_card(tmp_path):
    assert known_metrics(tmp_path) == known_metrics(None) == {} and training_log(tmp_path) == []
    lines = [{"step": i, "tokens": i * 10, "fvu": 0.5 / i, "dead_share": 0.0, "loss": 1.0} for i in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert training_log(tmp_path) == lines
    assert known_metrics(tmp_path) == {"tokens": 20, "fvu": 0.25, "dead_share": 0.0}
    measured = {"metrics": {"tokens": 7, "fvu": 0.1, "norm_ratio": 1.0}, "loss": {"recovered": 0.99}}
    (tmp_path / "report.json").write_text(json.dumps({"saes": [measured]}))
    assert known_metrics(tmp_path) == {"tokens": 7, "fvu": 0.1, "loss_recovered": 0.99}
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(InputError, match="lacks the setting 'saes'"):
        known_metrics(tmp_path)
    (tmp_path / "report.json").unlink()
    (tmp_path / "metrics.jsonl").write_text("{")
    with pytest.raises(InputError, match=r"metrics\.jsonl:1: not readable JSON"):
        known_metrics(tmp_path)
