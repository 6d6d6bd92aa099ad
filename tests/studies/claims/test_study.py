"""The whole study of the papers' claims, from recipe to table, at toy size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.recipes.world import World
from tests.studies.claims.toy_study import LANGUAGE, toy_study

from saelex.errors import InputError
from saelex.training.retrieval.guards import TrainingStoppedError
from saelex.training.retrieval.run import train_retrieval
from studies import states
from studies.claims import runs as claims_runs
from studies.claims.measured import NDCG, STANDARD, Study, measure_runs
from studies.claims.report import write_claims
from studies.claims.runs import Runs

pytestmark = pytest.mark.slow

GUARD = "step 2: the loss is nan; lower training.learning_rate (now 0.0001), or raise loss.temperature (now 5)"


def guarded(recipe: Any, folder: Path, **options: Any) -> Any:
    """Training, but a head drawn at random is stopped by a guard."""
    if recipe.model.head == "random":
        raise TrainingStoppedError(GUARD)
    return train_retrieval(recipe, folder, **options)


def refused(*_: Any, **__: Any) -> Any:
    raise AssertionError("trained again")


@dataclass(frozen=True)
class Finished:
    """A study that ran twice. written: the claims of each time. times: of all model files after each."""

    runs: Runs
    study: Study
    written: list[dict[str, Any]]
    times: list[dict[Path, int]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    root = tmp_path_factory.mktemp("study")
    recipe, output = toy_study(World(root)), root / "out"
    output.mkdir()
    written, times = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAELEX_CACHE", str(root / "cache"))
        patch.setattr(claims_runs, "train_retrieval", guarded)
        for _ in range(2):
            runs = Runs(recipe, [], output)
            for name in runs.named:
                runs.train(name)
            study = measure_runs(runs)
            write_claims(study, output)
            written.append(json.loads((output / "claims.json").read_text()))
            times.append({path: path.stat().st_mtime_ns for path in sorted(output.rglob("*.safetensors"))})
            patch.setattr(claims_runs, "train_retrieval", refused)
            patch.setattr(states, "train_sae", refused)
        yield Finished(runs, study, written, times)


def test_every_run_is_measured_and_every_claim_is_written(finished: Finished) -> None:
    runs, study, output = finished.runs, finished.study, finished.runs.output
    stopped = {"random"}
    assert set(study.runs) == set(runs.named)
    assert {name for name, run in study.runs.items() if run.stopped} == stopped
    assert all(runs.why_stopped(name) == GUARD for name in stopped)
    assert {one.parent.name for one in output.glob("*/saelex_config.json")} == set(runs.named) - stopped
    assert {one.parent.name for one in output.glob("saes/*/cfg.json")} == {sae.name for sae in runs.recipe.saes}
    assert not list(output.glob("*.run"))
    claims = finished.written[0]["claims"]
    assert [claim["letter"] for claim in claims] == list("abcdefghijklm")
    assert next(claim for claim in claims if claim["letter"] == "j")["ours"] == GUARD
    assert (output / "claims.md").read_text().count("\n### (") == len(claims)
    for picture in ("width-and-layer", "flops"):
        assert (output / f"{picture}.svg").stat().st_size > 1000


def test_a_run_is_what_its_settings_make_it(finished: Finished) -> None:
    runs = finished.runs
    wide, latents, frozen = (runs.encoder(name) for name in ("width-32768", "latents", "frozen"))
    assert (wide.n_latents, latents.n_latents) == (32_768, 16_384)
    assert runs.encoder("k-4").head.activation.k == 4
    assert runs.encoder("layer-3").backbone.layer == 3
    assert runs.encoder("vocabulary").n_latents == len(latents.tokenizer.tokenizer.get_vocab())
    begun = claims_runs.Encoder.from_sae(runs.recipe.sae.model, runs.output / "saes" / "layer-5-width-16384")
    assert frozen.head.weight.equal(begun.head.weight)
    assert not latents.head.weight.equal(begun.head.weight)


def test_what_is_measured_is_of_all_collections(finished: Finished) -> None:
    study = finished.study
    names = [*study.recipe.in_domain, *study.recipe.out_of_domain]
    assert study.sizes == dict.fromkeys(names, (20, 30))
    assert {system: list(of) for system, of in study.baselines.items()}.items() >= {"BM25": names}.items()
    for run in study.runs.values():
        if not run.stopped:
            for name in names:
                values = run.per_query[name].values()
                assert sum(values) / len(values) == pytest.approx(run.cuts[STANDARD][name].measures[NDCG])
        assert (run.tokens is not None) is (run.name in ("latents", "vocabulary"))
    translated = study.runs["latents"].translated[LANGUAGE]
    assert 0 < translated.overlap <= 1
    assert study.sae_facts.keys() == {sae.name for sae in study.recipe.saes}


def test_a_second_time_nothing_is_trained_and_the_claims_are_the_same(finished: Finished) -> None:
    first, second = finished.times
    assert len(first) > len(finished.runs.recipe.saes)
    assert first == second
    assert _untimed(finished.written[0]) == _untimed(finished.written[1])


def _untimed(written: dict[str, Any]) -> dict[str, Any]:
    """Without latencies, which are measured anew."""
    efficiency = next(claim for claim in written["claims"] if claim["letter"] == "b")
    column = efficiency["header"].index("p50 / p95, ms")
    assert all(row[column] for row in efficiency["rows"])
    return written | {
        "claims": [
            claim | {"rows": [row[:column] for row in claim["rows"]]} if claim is efficiency else claim
            for claim in written["claims"]
        ]
    }


def test_only_what_a_guard_says_is_noted(finished: Finished, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise InputError("data: no such file")

    runs = Runs(finished.runs.recipes / "claims.yaml", [], tmp_path)
    monkeypatch.setattr(claims_runs, "train_retrieval", broken)
    with pytest.raises(InputError, match="no such file"):
        runs.train("vocabulary")
    assert not list(tmp_path.iterdir())
