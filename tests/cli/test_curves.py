from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.cli.conftest import Saelex

from saelex.cli.curves import _systems
from saelex.corpus.opening import read_collection
from saelex.encoder.encoder import Encoder
from saelex.errors import InputError
from saelex.evaluation.encoded import EncodedCollection, JudgedDocuments
from saelex.evaluation.vectors_cache import VectorsCache


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SAELEX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_quality(saelex: Saelex, corpus: Path, model: Path, tmp_path: Path) -> None:
    encoder = Encoder.load(model)
    judged = JudgedDocuments.read(read_collection(corpus), "none")
    encoded = EncodedCollection.encode(encoder, judged, VectorsCache(tmp_path / "own"))
    out = tmp_path / "deep" / "curves"
    models = "--model", f"mine={model}", "--output", out
    for name, options, cuts, scale in (
        ("top-k", ("--query-top-k", "3,all", "--document-top-k", "5,all"), [(3, 5), (None, 5), (3, None)], None),
        ("pruning", ("--document-top-k", "all,4"), [(7, None), (7, 4)], None),
        (
            "flops",
            ("--query-top-k", "3,2+60%", "--document-top-k", "9,5", "--words", "--language", "none"),
            [(3, 9), ("2+60%", 9), (3, 5), ("2+60%", 5)],
            1.0,
        ),
    ):
        result = saelex("curves", name, corpus, *models, *options)
        assert result.code == 0, result.err
        written = json.loads((out / f"{name}.json").read_text())
        assert written["curve"] == name and written["command"].startswith("saelex curves")
        assert written["machine"]["cores"] >= 1 and written["versions"]["saelex"]
        words = {} if scale is None else {"language": "none"}
        assert written["collections"] == {"tiny:test": {"queries": 2, "documents": 4, **words}}
        (system,) = written["systems"]
        assert (system["system"], system["word_scale"]) == ("mine", scale)
        assert system["fingerprint"] == encoder.fingerprint
        for point, cut in zip(system["points"], cuts):
            assert (point["query_top_k"], point["document_top_k"]) == cut
            wanted = encoded.measured(cut, scale)
            assert point["measures"] == pytest.approx(wanted.measures)
            assert point["qd_flops"] == pytest.approx(wanted.qd_flops)
            assert f"{wanted.qd_flops:.2f}" in result.out
        for kind in ("json", "png", "svg"):
            assert str(out / f"{name}.{kind}") in result.out and (out / f"{name}.{kind}").stat().st_size > 500


def test_latency_of_two_models(saelex: Saelex, corpus: Path, model: Path, tmp_path: Path) -> None:
    other = shutil.copytree(model, tmp_path / "other")
    result = saelex(
        "curves", "latency", f"{corpus}:test", "-m", model, "-m", other, "-o", tmp_path / "out", "--k", "1,2"
    )
    assert result.code == 0, result.err
    written = json.loads((tmp_path / "out" / "latency.json").read_text())
    assert [system["system"] for system in written["systems"]] == ["model", "other"]
    for system in written["systems"]:
        points = system["collections"]["tiny:test"]
        assert {point["latency"]["k"] for point in points} == {1, 2}
        assert {point["latency"]["mode"] for point in points} == {"exact", "capped", "two_step"}
        assert points[0]["recall"] == 1 and points[0]["latency"]["queries"] == 2
        assert all(f"{point['recall']:.4f}" in result.out for point in points)
    assert "other, tiny:test" in (tmp_path / "out" / "latency.svg").read_text()


def test_arguments_that_make_no_sense(saelex: Saelex, corpus: Path, model: Path, tmp_path: Path) -> None:
    out = "--output", tmp_path / "out"
    assert "missing option" in saelex("curves", "top-k", corpus).err
    assert "--measure is one of nDCG@10" in saelex("curves", "flops", corpus, *out, "--measure", "MAP").err
    assert "not '0'" in saelex("curves", "pruning", corpus, *out, "--document-top-k", "0").err
    assert (
        "--language is of words, which curves leave out"
        in saelex("curves", "flops", corpus, *out, "--language", "de").err
    )
    wrong = saelex("curves", "latency", corpus, *out, "--words", "--language", "xx")
    assert wrong.code == 2 and "unknown language 'xx'" in wrong.err
    assert "--k takes numbers" in saelex("curves", "latency", corpus, *out, "--k", "10,x").err
    assert "second collection called tiny:test" in saelex("curves", "top-k", corpus, corpus, *out).err
    assert not (tmp_path / "out").exists()


def test_names_of_systems(tmp_path: Path) -> None:
    one, other = tmp_path / "a" / "head", tmp_path / "b" / "head"
    for folder in (one, other):
        folder.mkdir(parents=True)
    assert _systems(["saelex-minilm", str(one)]) == {"saelex-minilm": "saelex-minilm", "head": str(one)}
    assert list(_systems([str(one), f"x={other}", str(other)])) == ["a/head", "x", "b/head"]
    with pytest.raises(InputError, match="two models of one name"):
        _systems(["x=a", "x=b"])
