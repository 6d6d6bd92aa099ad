"""A report over languages against the evaluation that it was made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.evaluation.report.made import Page

from saelex.evaluation.languages.latents import LatentsByLanguage, Overlap
from saelex.evaluation.languages.matrix import Group, LanguageEvaluation, LanguageMatrix, MixedIndex, groups_of
from saelex.evaluation.report import write_language_report
from saelex.evaluation.significance import compare_systems

SYSTEMS = ("dense", "concepts")
CODES = ("de", "en")
CELLS = {
    ("de", "de"): (0.8, 0.9), ("de", "en"): (0.5, 0.7), ("en", "de"): (0.4, 0.6), ("en", "en"): (0.9, 1.0),
}  # fmt: skip


def made_evaluation() -> LanguageEvaluation:
    cells = {pair: {name: {"nDCG@10": one} for name, one in zip(SYSTEMS, values)} for pair, values in CELLS.items()}
    groups = []
    for name, pairs in groups_of(list(cells)).items():
        means = {one: sum(cells[pair][one]["nDCG@10"] for pair in pairs) / len(pairs) for one in SYSTEMS}
        per_query = {one: {"nDCG@10": {f"q{i}": mean + i / 1000 for i in range(20)}} for one, mean in means.items()}
        comparisons = compare_systems(per_query, [("concepts", "dense")])
        groups.append(Group(name, pairs, {one: {"nDCG@10": mean} for one, mean in means.items()}, comparisons))
    latents = LatentsByLanguage(7, [Overlap("de", "en", 0.25, 0.125)], 8, {"de": 1, "en": 3}, 0.375)
    measures = {code: {name: {"nDCG@10": 0.5} for name in SYSTEMS} for code in CODES}
    shares = {name: {"de": {"de": 0.7, "en": 0.3}, "en": {"de": 0.4, "en": 0.6}} for name in SYSTEMS}
    matrix = LanguageMatrix(
        "<toy>", 20, {"de": 7, "en": 7}, {"de": "de", "en": "en"}, cells, groups, {"concepts": latents},
        MixedIndex(measures, shares, 10),
    )  # fmt: skip
    facts = {"measures": ["nDCG@10"], "reference": "dense", "systems": {name: {} for name in SYSTEMS}}
    return LanguageEvaluation([matrix], {"command": "saelex evaluate toy --languages de,en", **facts})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("matplotlib")
    return write_language_report(made_evaluation(), tmp_path_factory.mktemp("reports") / "report").parent


def test_the_page_has_means_maps_latents_and_the_one_index(folder: Path) -> None:
    page = Page((folder / "index.html").read_text(encoding="utf-8"))
    means, searched, dense, concepts, overlap, bound, one_index, *shares, _ = page.tables
    groups = ["monolingual (2)", "into English (1)", "out of English (1)", "cross-lingual (2)", "all (4)"]
    assert means[0] == ["system", *groups]
    assert means[1:] == [
        ["dense", "0.850", "0.500", "0.400", "0.450", "0.650"],
        ["concepts", "0.950", "0.700", "0.600", "0.650", "0.800"],
    ]
    assert page.signs == 5 * [("concepts is significantly better than dense", "▲")]
    assert searched[1:] == [["de", "7", "de"], ["en", "7", "en"]]
    assert dense == [["", "de", "en"], ["de", "0.800", "0.500"], ["en", "0.400", "0.900"]]
    assert concepts == [["", "de", "en"], ["de", "0.900", "0.700"], ["en", "0.600", "1.000"]]
    assert overlap == [["", "de", "en"], ["de", "–", "0.250 / 0.125"], ["en", "0.250 / 0.125", "–"]]
    assert bound[1] == ["concepts", "8", "50.0%", "37.5%", "1", "3"]
    assert one_index[1] == ["dense", "0.500", "0.500"]
    assert shares[0] == [["", "de", "en"], ["de", "70%", "30%"], ["en", "40%", "60%"]]
    assert not [link for link in page.links if not link.startswith("#")]


def test_one_scale_of_colour_for_all_systems(folder: Path) -> None:
    page = Page((folder / "index.html").read_text(encoding="utf-8"))
    heats = [of["style"] for tag, of in page.attributes if tag == "td" and "style" in of]
    # from .4, no colour, to 1, the strongest: of dense, then of concepts
    assert heats[:8] == [f"--heat: {heat}%" for heat in (40, 10, 0, 50, 50, 30, 20, 60)]


def test_markdown_and_json_say_the_same(folder: Path) -> None:
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "| concepts | **0.950** ▲ |" in text and "| de | 0.800 | 0.500 |" in text
    values = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert values == json.loads(json.dumps(made_evaluation().to_json()))
