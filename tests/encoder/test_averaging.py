from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.encoder.backbone.test_low_rank import QUERY, random_update
from tests.encoder.tiny_encoders import SETTINGS, random_head
from tests.encoder.tiny_models import TEXTS, tiny_checkpoint

from saelex.encoder.averaging import average_encoders
from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.low_rank import LowRankUpdate
from saelex.encoder.encoder import Encoder
from saelex.encoder.weighting import LatentWeighting
from saelex.errors import InputError, MismatchError
from saelex.sae.activations import JumpReLU, TopK


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint("bert", tmp_path_factory.mktemp("base") / "bert")


def run(base: Path, folder: Path, seed: int, **options: Any) -> Path:
    """A saved run that tuned a low-rank update of a named backbone, or (full=True) everything; all by chance."""
    full, load = options.pop("full", False), options.pop("load", {})
    head = options.pop("head", None) or random_head(32)
    settings = replace(SETTINGS, **options.pop("settings", {}))
    update = None if full else options.pop("update", random_update(seed))
    backbone = Backbone.load(base, **({"layer": 2, "update": update} | load))
    encoder = Encoder(backbone, head, settings, **options)
    if full:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in (*backbone.parameters(), head.weight, head.bias, head.alpha):
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    encoder.save_pretrained(folder, include_backbone=full)
    return folder


def test_merged_weights_are_averaged_not_factors(base: Path, tmp_path: Path) -> None:
    folders = [run(base, tmp_path / f"run{seed}", seed) for seed in (1, 2)]
    mean = average_encoders(folders)
    weight = Backbone.load(base).model.get_parameter(f"{QUERY}.weight").detach().double()
    updates = [random_update(seed).factors[QUERY] for seed in (1, 2)]
    expected = weight + sum(B.double() @ A.double() for A, B in updates) / 2
    found = mean.backbone.model.get_parameter(f"{QUERY}.weight").detach().double()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    apart = LowRankUpdate({QUERY: (sum(A for A, _ in updates) / 2, sum(B for _, B in updates) / 2)})  # type: ignore[dict-item]
    wrong = Backbone.load(base, update=apart).model.get_parameter(f"{QUERY}.weight")
    assert (wrong - found).abs().max() > 0.05
    untouched = mean.backbone.model.get_parameter("embeddings.word_embeddings.weight")
    torch.testing.assert_close(
        untouched, Backbone.load(base).model.get_parameter("embeddings.word_embeddings.weight"), rtol=0, atol=1e-7
    )


def test_everything_that_was_trained_is_averaged_by_weight(base: Path, tmp_path: Path) -> None:
    folders = [run(base, tmp_path / f"run{seed}", seed, full=True) for seed in (1, 2, 3)]
    mean = average_encoders(folders, [1, 2, 1])
    runs = [Encoder.load(folder, device="cpu") for folder in folders]
    for part in ("backbone", "head"):
        for name, tensor in getattr(mean, part).state_dict().items():
            first, second, third = (getattr(encoder, part).state_dict()[name].double() for encoder in runs)
            torch.testing.assert_close(tensor.double(), (first + 2 * second + third) / 4, rtol=1e-6, atol=1e-7)
    assert runs[0].head.alpha != runs[1].head.alpha


def test_an_average_is_a_model_like_others(base: Path, tmp_path: Path) -> None:
    made = [
        run(base, tmp_path / "a", 1, description={"licence": "mit", "loss": 1}, labels={1: "lift", 2: "wing"},
            extra_files={"training/recipe.yaml": "seed: 1\n"}),
        run(base, tmp_path / "b", 2, description={"licence": "mit", "loss": 2}, labels={1: "lift", 2: "air"},
            extra_files={"training/recipe.yaml": "seed: 2\n"}),
    ]  # fmt: skip
    mean = average_encoders(made)
    runs = [Encoder.load(folder, device="cpu") for folder in made]
    assert mean.labels == {1: "lift"} and mean.settings == SETTINGS
    assert mean.description == {
        "licence": "mit",
        "averaged_from": f"a (0.5, fingerprint {runs[0].fingerprint}); b (0.5, fingerprint {runs[1].fingerprint})",
    }
    before = mean.fingerprint
    assert before not in {encoder.fingerprint for encoder in runs}
    mean.save_pretrained(tmp_path / "mean", include_backbone=True)
    again = Encoder.load(tmp_path / "mean", device="cpu")
    assert again.fingerprint == before and again.backbone.update is None and again.backbone.base_model == str(base)
    np.testing.assert_array_equal(again.encode_document(TEXTS).weights, mean.encode_document(TEXTS).weights)
    training = tmp_path / "mean" / "training"
    assert [run["fingerprint"] for run in json.loads((training / "average.json").read_text())["runs"]] == [
        encoder.fingerprint for encoder in runs
    ]
    assert (training / "run-2" / "recipe.yaml").read_text() == "seed: 2\n"
    # and may be averaged again: (a + b) / 2 with a, two to one, is (2 a + b) / 3
    thrice = average_encoders([tmp_path / "mean", made[0]], [2, 1])
    expected = average_encoders(made, [2, 1])
    for name, tensor in thrice.backbone.state_dict().items():
        torch.testing.assert_close(tensor, expected.backbone.state_dict()[name], rtol=0, atol=1e-6)


def test_the_mean_has_the_dtype_of_the_runs(base: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(base, tmp_path / name, ord(name), full=True, load={"dtype": torch.bfloat16})
    mean = average_encoders([tmp_path / "a", tmp_path / "b"])
    assert mean.backbone.dtype == torch.bfloat16
    runs = [Encoder.load(tmp_path / name, device="cpu").backbone.state_dict() for name in ("a", "b")]
    for name, tensor in mean.backbone.state_dict().items():
        assert tensor.equal((runs[0][name].float() / 2 + runs[1][name].float() / 2).to(torch.bfloat16))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"load": {"layer": 3}}, r"layer \(2 and 3\)"),
        ({"settings": {"query_prompt": "q: "}}, r"settings.query_prompt \('wing: ' and 'q: '\)"),
        ({"head": random_head(32, TopK(5))}, "head.activation"),
        ({"head": random_head(32, JumpReLU(torch.full((96,), 0.5)))}, "in head.activation.threshold"),
        ({"head": random_head(32, scale=torch.full((96,), 2.0))}, "head.scale"),
        ({"head": random_head(32, pooling="sum")}, r"head.pooling \('max' and 'sum'\)"),
        ({"weighting": True}, "weighting"),
    ],
)
def test_runs_of_different_models_are_refused(
    options: dict[str, Any], message: str, base: Path, tmp_path: Path
) -> None:
    one = run(base, tmp_path / "one", 1)
    if "weighting" in options:
        rows = Encoder.load(one, device="cpu").encode_document(TEXTS, top_k=None)
        options = {"weighting": LatentWeighting.fit([rows])}
    other = run(base, tmp_path / "other", 2, **options)
    with pytest.raises(MismatchError, match=f"one and other cannot be averaged: they differ .*{message}"):
        average_encoders([one, other])


def test_runs_of_different_bases_are_refused(base: Path, tmp_path: Path) -> None:
    reseeded = tiny_checkpoint("bert", tmp_path / "reseeded", seed=1)
    one = run(base, tmp_path / "one", 1)
    with pytest.raises(MismatchError, match="the base model's weights"):
        average_encoders([one, run(reseeded, tmp_path / "other", 2)])
    with pytest.raises(MismatchError, match=r"the base model \("):
        average_encoders([one, run(reseeded, tmp_path / "other", 2, full=True)])
    copied = tmp_path / "copied"
    Encoder.load(one, device="cpu").save_pretrained(copied, include_backbone=True)
    average_encoders([one, copied])


def test_weights_are_one_positive_number_each(base: Path, tmp_path: Path) -> None:
    one = run(base, tmp_path / "one", 1)
    with pytest.raises(InputError, match="two or more"):
        average_encoders([one])
    for weights in ([1.0], [1.0, 0.0], [1.0, float("nan")]):
        with pytest.raises(InputError, match="one positive weight for each of the 2"):
            average_encoders([one, one], weights)
