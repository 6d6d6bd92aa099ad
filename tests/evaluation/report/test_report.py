"""A report against the evaluation that it was made of, read back from its files."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from tests.evaluation.report.made import (
    BM25,
    CONCEPTS,
    MEASURES,
    N_QUERIES,
    NASTY,
    WORDS,
    Page,
    make_collection,
    make_costs,
    make_evaluation,
)

from saelex.concepts.explanation import Contribution, Explanation
from saelex.errors import InputError
from saelex.evaluation.report import (
    CollectionExamples,
    Examples,
    ExplainedHit,
    QueryExample,
    RankedDocument,
    ReportOptions,
    write_report,
)
from saelex.evaluation.report.choices import choices_of
from saelex.evaluation.report.costs_shown import latency_conditions
from saelex.evaluation.results import Evaluation


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Path]:
    evaluation = make_evaluation()
    folder = tmp_path_factory.mktemp("reports") / "report"
    assert write_report(evaluation, folder, examples=None) == folder / "index.html"
    return evaluation, folder


def page_of(folder: Path) -> Page:
    return Page((folder / "index.html").read_text(encoding="utf-8"))


def markdown_tables(text: str) -> list[list[list[str]]]:
    """Cells of every table; a pipe after a backslash is a sign, not a border."""
    tables = []
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()]
        tables.append([[cell.strip() for cell in line] for line in lines])
    return tables


def examples_of(text: str = "why do wings lift?", pair: tuple[str, str] = (CONCEPTS, BM25)) -> Examples:
    rows = [
        Contribution(7, "wing · airfoil", 1.5, ["wings"], ["wing", "airfoils"]),
        Contribution(9001, text, 0.5, [text], [text]),
        Contribution(47, "latent 47", 0.25),
        Contribution(47, "boeing 747", 0.25),
        Contribution(99_001, "word:wings", 0.25),
    ]
    hit = ExplainedHit(pair[0], f"doc {text}", text, 2, 1, Explanation(text, "d1", 2.75, rows))
    documents = [RankedDocument("d1", text, 1, 2, None), RankedDocument("d2", "other", 0, None, 17)]
    example = QueryExample("q07", text, 0.75, 0.25, documents, 5, [hit])
    return Examples(MEASURES[0], *pair, [CollectionExamples("one:test", [example], [])])


def test_means_are_those_of_the_queries(written: tuple[Evaluation, Path]) -> None:
    evaluation, folder = written
    table = page_of(folder).tables[0]
    assert table[0][:3] == ["system", *MEASURES]
    assert [row[0] for row in table[1:]] == [BM25, CONCEPTS, WORDS]
    for row in table[1:]:
        for measure, cell in zip(MEASURES, row[1:]):
            per_collection = [fmean(one.system(row[0]).per_query[measure].values()) for one in evaluation.collections]
            assert cell == f"{fmean(per_collection):.3f}"
    # the same cells in Markdown, where signs stand in the cell and the best are between stars
    in_markdown = markdown_tables((folder / "report.md").read_text(encoding="utf-8"))[0]
    plain = [[re.sub(r" [▲▼].*|[*]|\\", "", cell) for cell in row] for row in in_markdown]
    assert [plain[0], *plain[2:]] == table


def test_costs_stand_in_the_same_table_and_missing_ones_are_dashes(written: tuple[Evaluation, Path]) -> None:
    table = page_of(written[1]).tables[0]
    cells = {row[0]: dict(zip(table[0], row)) for row in table[1:]}
    assert set(list(cells[BM25].values())[3:]) == {"–"}
    # scales 1 and 2, and 2 and 3: their means are 1.5 and 2.5 times the costs
    assert cells[CONCEPTS]["active/query"] == "18.8" and cells[CONCEPTS]["active/passage"] == "195"
    assert cells[CONCEPTS]["QD-FLOPs"] == "5.18" and cells[WORDS]["QD-FLOPs"] == "8.64"
    assert cells[CONCEPTS]["postings"] == "18,518"
    assert cells[CONCEPTS]["search ms"] == "1.85/3.75/45.0" and cells[WORDS]["search ms"] == "–"
    assert cells[CONCEPTS]["passages/s"] == "81.5" and cells[CONCEPTS]["queries/s"] == "–"
    assert cells[CONCEPTS]["bytes/document"] == "3,073" and cells[WORDS]["bytes/document"] == "–"
    assert cells[CONCEPTS]["latents used"] == "31.2 %" and cells[CONCEPTS]["Gini"] == "0.876"
    assert cells[CONCEPTS]["text to hits ms"] == "14.2/18.0/30.0"
    words = page_of(written[1]).words
    assert "Search: exact, k = 10, 1 core, 40 queries timed. " in words
    assert "Text to hits: exact, k = 10, 2 cores, 32 queries timed. " in words


def test_ways_of_timing_are_told_apart() -> None:
    found = make_costs().latency_ms
    assert found is not None
    few, far = replace(found, queries=1200), replace(found, cores=4, queries=7)
    costs = [make_costs(latency_ms=one, end_to_end_ms=None) for one in (found, few, far)]
    assert latency_conditions(zip("aab", costs)) == [
        "Search: exact, k = 10, 1 core, 40 to 1,200 queries timed (a)",
        "Search: exact, k = 10, 4 cores, 7 queries timed (b)",
    ]
    assert latency_conditions(zip("ab", costs[:1])) == ["Search: exact, k = 10, 1 core, 40 queries timed"]
    assert latency_conditions([("a", make_costs(latency_ms=None, end_to_end_ms=None))]) == []


def test_the_best_of_a_column_is_bold(written: tuple[Evaluation, Path]) -> None:
    table = markdown_tables((written[1] / "report.md").read_text(encoding="utf-8"))[0]
    bold = {(row[0], column) for row in table[2:] for column, cell in zip(table[0], row) if cell.startswith("**")}
    # nothing is the best where all are equal, as under the second measure, or only one has a value
    best = (MEASURES[0], "active/query", "active/passage", "QD-FLOPs", "postings", "text to hits ms")
    assert bold == {(CONCEPTS, column) for column in best}


def test_signs_follow_the_corrected_test(written: tuple[Evaluation, Path]) -> None:
    evaluation, folder = written
    for one in evaluation.collections:
        assert [row.randomisation_holm < 0.05 for row in one.comparisons] == [True, True, False, False]
    signs = page_of(folder).signs
    assert signs[:2] == [
        (f"significantly better than {BM25} on 2 of 2 collections", "▲2"),
        (f"significantly worse than {BM25} on 2 of 2 collections", "▼2"),
    ]
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert f"▲ significantly better than {BM25}" in text and "paired randomisation test" in text
    assert "Holm-corrected" in text and "α = 0.05" in text and "Not compared" not in text


def test_alpha_test_and_reference_can_be_chosen(written: tuple[Evaluation, Path], tmp_path: Path) -> None:
    options = ReportOptions(reference=CONCEPTS, test="t", alpha=1e-30, measure=MEASURES[1])
    write_report(written[0], tmp_path / "report", examples=None, options=options)
    page = page_of(tmp_path / "report")
    assert f"better than {CONCEPTS}" in page.words and "paired t-test" in page.words and "α = 1e-30" in page.words
    # BM25 is the second of the pair that was compared, so that the sign turns round; words were not compared with it
    assert {meaning for meaning, _ in page.signs if meaning} <= {
        f"significantly worse than {CONCEPTS} on 2 of 2 collections", f"{BM25} is significantly worse than {CONCEPTS}",
        f"{CONCEPTS} is significantly better than {BM25}", f"{WORDS} is significantly worse than {BM25}",
    }  # fmt: skip
    assert page.signs[0] == (f"significantly worse than {CONCEPTS} on 2 of 2 collections", "▼2")
    assert f"Not compared with it, so without a sign: {WORDS}." in page.words


def test_comparisons_show_both_tests(written: tuple[Evaluation, Path]) -> None:
    evaluation, folder = written
    tables = [table for table in page_of(folder).tables if table[0][0] == "measure"]
    assert len(tables) == len(evaluation.collections)
    for table, result in zip(tables, evaluation.collections):
        for row, one in zip(table[1:], result.comparisons, strict=True):
            values = (one.t_p, one.t_holm, one.randomisation_p, one.randomisation_holm)
            shown = ["< 0.0001" if value < 0.0001 else f"{value:.4f}" for value in values]
            assert row == [
                one.measure, one.first, one.second, f"{one.difference:+.4f}",
                f"{one.wins} / {one.losses} / {one.ties}", *shown,
            ]  # fmt: skip


def test_the_page_stands_alone_and_is_accessible(written: tuple[Evaluation, Path]) -> None:
    text = (written[1] / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags and "img" not in page.tags and "link" not in page.tags
    assert page.links and all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids) and len(page.ids) == len(set(page.ids))
    assert "@import" not in text and re.findall(r"url\((?!#)", text) == []
    names = {name for _, attributes in page.attributes for name, value in attributes.items() if "://" in (value or "")}
    assert names <= {"xmlns", "xmlns:xlink"}
    drawings = [attributes for tag, attributes in page.attributes if tag == "svg"]
    assert len(drawings) == 3  # one per collection, and quality against cost
    assert all(one["role"] == "img" and one["aria-label"] for one in drawings)
    assert page.tags.count("table") == page.tags.count("caption") > 5
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in page.attributes if tag == "th")
    assert "prefers-color-scheme: dark" in text and "@media print" in text and "width=device-width" in text


def test_alt_texts_say_what_the_bars_show(written: tuple[Evaluation, Path]) -> None:
    evaluation, folder = written
    told = [attributes["aria-label"] or "" for tag, attributes in page_of(folder).attributes if tag == "svg"][1]
    one, other = (evaluation.collections[0].system(name).per_query[MEASURES[0]] for name in (CONCEPTS, BM25))
    values = [one[query] - other[query] for query in one]
    assert f"{CONCEPTS} is better on {N_QUERIES} queries, {BM25} on 0, equal on 0" in told
    assert f"from {max(values):+.3f} to {min(values):+.3f}, mean {fmean(values):+.3f}" in told


def test_markdown_tables_are_whole_and_pictures_there(written: tuple[Evaluation, Path]) -> None:
    folder = written[1]
    text = (folder / "report.md").read_text(encoding="utf-8")
    tables = markdown_tables(text)
    assert len(tables) == page_of(folder).tags.count("table")
    for table in tables:
        assert len({len(row) for row in table}) == 1
        assert all(re.fullmatch("-+:?", cell) for cell in table[1])
    named = re.findall(r"\]\((figures/[^)]+\.png)\)", text)
    assert len(named) == 3
    files = {path.relative_to(folder).as_posix() for path in (folder / "figures").iterdir()}
    assert files == {name for png in named for name in (png, png.replace(".png", ".svg"))}
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in named)


def test_what_is_needed_to_repeat_it_is_there(written: tuple[Evaluation, Path]) -> None:
    evaluation, folder = written
    words = page_of(folder).words
    facts = dict(page_of(folder).tables[-1][1:])
    assert evaluation.facts["command"] in words and "smaller document id" in words
    assert facts["machine: cores"] == "2" and facts["versions: torch"] == "2.13.0"
    assert facts[f"systems: {CONCEPTS}: fingerprint"] == "abc123"
    assert facts[f"systems: {CONCEPTS}: settings: query_top_k"] == "–"
    values = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert Evaluation.from_json(values) == evaluation
    assert not (folder / "examples.json").exists()


def test_the_same_evaluation_gives_the_same_bytes(written: tuple[Evaluation, Path], tmp_path: Path) -> None:
    copy = Evaluation.from_json(json.loads(json.dumps(written[0].to_json())))
    write_report(copy, tmp_path / "other", examples=None)
    for path in written[1].rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "other" / path.relative_to(written[1])).read_bytes(), path.name


def test_examples_show_ranks_and_reasons(tmp_path: Path) -> None:
    write_report(make_evaluation(), tmp_path / "report", examples=examples_of())
    page = page_of(tmp_path / "report")
    judged, why = (next(t for t in page.tables if t[0][0] == title) for title in ("judged document", "latent or word"))
    assert judged[1:] == [["d1", "why do wings lift?", "1", "2", "–"], ["d2", "other", "0", "–", "17"]]
    assert why[1] == ["wing · airfoil #7", "1.500", "wings", "wing, airfoils"]
    assert [row[0] for row in why[3:]] == ["latent 47", "boeing 747 #47", "word:wings"]
    assert "0.750" in page.words and "(+0.500)" in page.words and "2 of 5" in page.words
    assert json.loads((tmp_path / "report" / "examples.json").read_text())["collections"][0]["gains"][0]["id"] == "q07"


def test_nothing_from_outside_becomes_markup(tmp_path: Path) -> None:
    collection = make_collection(NASTY, 0, (BM25, NASTY, WORDS))
    evaluation = make_evaluation(collection)
    evaluation.facts["command"] = f"saelex ``` {NASTY}"
    examples = examples_of(NASTY, (NASTY, BM25))
    examples = replace(examples, collections=[replace(examples.collections[0], collection=f"{NASTY}:test")])
    write_report(evaluation, tmp_path / "report", examples=examples)
    page = page_of(tmp_path / "report")
    assert not {"script", "i", "img", "em"} & set(page.tags)
    assert all(link.startswith("#") for link in page.links)
    tables = page.tables
    assert tables[0][2][0] == NASTY and any(NASTY in row for table in tables for row in table[1:])
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    prose = re.sub(r"^````\n.*?^````$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert "<" not in prose and len(prose) < len(text)
    assert re.findall(r"(?<!\\)\]\((?!figures/)", prose) == []
    for table in markdown_tables(prose):
        assert len({len(row) for row in table}) == 1


def test_a_single_system_needs_no_comparison(tmp_path: Path) -> None:
    collection = make_collection("alone", 3)
    alone = replace(collection, systems=[collection.systems[1]], comparisons=[])
    write_report(make_evaluation(alone), tmp_path / "report", examples=None)
    page = page_of(tmp_path / "report")
    assert "Pairwise" not in page.words and "Query by query" not in page.words and "significantly" not in page.words
    assert not page.bold and page.tables[0][1][0] == CONCEPTS


def test_latencies_measured_differently_have_no_mean(tmp_path: Path) -> None:
    one, two = make_collection("one", 0), make_collection("two", 1)
    latency = make_costs().latency_ms
    assert latency is not None
    costs = make_costs(latency_ms=replace(latency, cores=4))
    two = replace(two, systems=[two.systems[0], replace(two.systems[1], costs=costs), two.systems[2]])
    write_report(make_evaluation(one, two), tmp_path / "report", examples=None)
    page = page_of(tmp_path / "report")
    assert dict(zip(page.tables[0][0], page.tables[0][2]))["search ms"] == "–"
    assert f"Search: exact, k = 10, 4 cores, 40 queries timed ({CONCEPTS})." in page.words


def test_an_older_report_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write_report(make_evaluation(make_collection("one", 0)), folder, examples=examples_of())
    write_report(make_evaluation(make_collection("three", 2)), folder, examples=None)
    assert not (folder / "examples.json").exists() and "three" in (folder / "report.md").read_text()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is no report"):
        write_report(make_evaluation(), folder, examples=None)
    assert "three" in (folder / "report.md").read_text() and (folder / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_the_pair_that_is_looked_into_has_hits_to_explain() -> None:
    evaluation = make_evaluation(make_collection("one", 0, names=(BM25, "dense", CONCEPTS)))
    means = evaluation.means()
    assert means["dense"][MEASURES[0]] > means[CONCEPTS][MEASURES[0]]
    assert choices_of(evaluation).pair == (CONCEPTS, BM25)
    assert choices_of(replace(evaluation, facts={})).pair == ("dense", BM25)  # nobody explains: the best one


def test_names_that_are_not_there(tmp_path: Path) -> None:
    for options in (
        ReportOptions(reference="other"), ReportOptions(measure="AP"), ReportOptions(pair=(CONCEPTS, "other")),
    ):  # fmt: skip
        with pytest.raises(InputError, match="the evaluation has no"):
            write_report(make_evaluation(), tmp_path / "report", examples=None, options=options)
    with pytest.raises(InputError, match="the examples are of"):
        options = ReportOptions(pair=(WORDS, BM25))
        write_report(make_evaluation(), tmp_path / "report", examples=examples_of(), options=options)
    with pytest.raises(InputError, match="nothing to report"):
        write_report(Evaluation([], {}), tmp_path / "report", examples=None)
    assert list(tmp_path.iterdir()) == []
