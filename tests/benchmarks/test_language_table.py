from __future__ import annotations

from statistics import fmean

import pytest

from language_table import DIRECTIONS, tables_of
from retrieval_table import as_markdown
from saelex.evaluation.languages.matrix import LanguageEvaluation, LanguageMatrix

GROUPS = {"chosen": ["de", "es"], "reported": ["ar"]}
CODES = ["de", "es", "ar"]


def matrix_of(name: str, pairs: list[tuple[str, str]], first: float) -> LanguageMatrix:
    """Values that rise by .01 from pair to pair; concepts are .1 above BM25."""
    cells = {
        pair: {
            system: {"nDCG@10": first + i / 100 + more, "R@100": 0.0}
            for system, more in (("bm25", 0.0), ("concepts", 0.1))
        }
        for i, pair in enumerate(pairs)
    }
    documents = list(dict.fromkeys(document for _, document in pairs))
    return LanguageMatrix(name, 9, dict.fromkeys(documents, 5), {code: code for code in documents}, cells, [])


def made() -> LanguageEvaluation:
    pairs = [("en", "en"), *(direction.pair(code) for direction in DIRECTIONS for code in CODES)]
    matrices = [
        matrix_of("toy", pairs, 0.2),
        matrix_of("arcd", [("ar", "ar")], 0.5),
        matrix_of("one", [("it", "it")], 0.6),
    ]
    return LanguageEvaluation(matrices, {"systems": {"bm25": {}, "concepts": {}}})


def test_directions() -> None:
    assert [one.pair("de") for one in DIRECTIONS] == [("de", "de"), ("de", "en"), ("en", "de")]


def test_means_over_groups_of_languages_and_every_language() -> None:
    found = made()
    means, within, into, out, sets = tables_of(found, GROUPS, True)
    values = found.matrices[0].values("bm25", "nDCG@10")
    header, body = means
    assert header == [
        "nDCG@10", "en", "chosen in language", "chosen -> en", "chosen en ->", "chosen across", "reported in language",
        "reported -> en", "reported en ->", "reported across",
    ]  # fmt: skip
    wanted = [values["en", "en"]]
    for codes in GROUPS.values():
        within_mean = fmean(values[code, code] for code in codes)
        ways = [values[code, "en"] for code in codes], [values["en", code] for code in codes]
        wanted += [within_mean, *map(fmean, ways), fmean([*ways[0], *ways[1]])]
    assert [cell.value for cell in body[0][1:]] == pytest.approx([round(value, 3) for value in wanted])
    assert [cell.value for cell in body[1][1:]] == pytest.approx([round(value + 0.1, 3) for value in wanted])
    for (header, body), direction in zip((within, into, out), DIRECTIONS):
        assert header == [f"nDCG@10 {direction.name}", *CODES]
        assert [cell.value for cell in body[0][1:]] == pytest.approx([values[direction.pair(code)] for code in CODES])
    header, body = sets
    assert header == ["nDCG@10 in language", "arcd (ar)", "one (it)", "mean"]
    assert [cell.text for cell in body[0]] == ["bm25", "0.500", "0.600", "0.550"]
    assert as_markdown(*sets).splitlines()[-1] == "| concepts | **0.600** | **0.700** | **0.650** |"


def test_sets_of_one_language_alone() -> None:
    found = made()
    (table,) = tables_of(LanguageEvaluation(found.matrices[1:], found.facts), {"chosen": [], "reported": []}, False)
    assert table[0][1] == "arcd (ar)"
