"""`saelex mine` and `saelex score` from end to end: BM25, an index, an encoder; and what they refuse."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer
from tests.cli.conftest import DOCUMENTS, Saelex

from saelex.cli.mine import mine
from saelex.cli.score import score
from saelex.encoder.encoder import Encoder
from saelex.errors import InputError
from saelex.index.index import Index

Run = Callable[..., str]
TEXT = {str(one["_id"]): f"{one['title']} {one['text']}".strip() for one in DOCUMENTS}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("mine", folder, "-o", file)`: stdout."""
    app = typer.Typer()
    app.command()(mine)
    app.command()(score)

    def call(*arguments: object) -> str:
        capsys.readouterr()
        app([str(argument) for argument in arguments], standalone_mode=False)
        return capsys.readouterr().out

    return call


def rows(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


def bm25(query: set[str], document: list[str], documents: list[list[str]]) -> float:
    """Lucene's BM25, k1 0.9 and b 0.4, of words that are stemmed already."""
    mean = sum(map(len, documents)) / len(documents)
    total = 0.0
    for word in query:
        df = sum(word in one for one in documents)
        tf = document.count(word)
        if tf:
            idf = math.log(1 + (len(documents) - df + 0.5) / (df + 0.5))
            total += idf * tf / (tf + 0.9 * (1 - 0.4 + 0.4 * len(document) / mean))
    return total


# title and text of DOCUMENTS without stop words, stemmed
STEMMED = {
    "wing": ["lift", "wing", "aircraft", "creat", "lift", "air"],
    "bank": ["money", "bank", "lend", "money", "interest", "rate", "follow", "inflat"],
    "river": ["river", "bank", "flood", "rain", "fall", "day"],
    "zip": ["archiv", "read", "zip", "archiv", "python"],
}


def test_bm25_mines_and_scores(run: Run, corpus: Path, tmp_path: Path) -> None:
    queries = {"3": "banks that flood", "4": "lift of money"}
    folder = corpus_with(corpus, tmp_path / "banks", queries, {"3": "bank", "4": "wing"})
    out = run("mine", f"{folder}:test", "-o", tmp_path / "mined.parquet")
    assert "2 queries, 2 negatives" in out
    found = [
        (row["query_id"], row["document_id"], row["relevant"], row["rank"], row["miner"])
        for row in rows(tmp_path / "mined.parquet")
    ]
    assert found == [
        ("3", "bank", True, None, "qrels"),
        ("3", "river", False, 1, "bm25"),  # bank and flood
        ("4", "wing", True, None, "qrels"),
        ("4", "bank", False, 2, "bm25"),
    ]
    run("score", folder, tmp_path / "mined.parquet", "-o", tmp_path / "scored.parquet", "--teacher", "bm25")
    scores = {(row["query_id"], row["document_id"]): row["score"] for row in rows(tmp_path / "scored.parquet")}
    corpus_words = list(STEMMED.values())
    for (query, document), value in scores.items():
        words = {"3": {"bank", "flood"}, "4": {"lift", "money"}}[query]
        assert value == pytest.approx(bm25(words, STEMMED[document], corpus_words), rel=1e-5)
    assert "there already" in run("mine", f"{folder}:test", "-o", tmp_path / "mined.parquet")


def corpus_with(corpus: Path, folder: Path, queries: dict[str, str], answers: dict[str, str]) -> Path:
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_bytes((corpus / "corpus.jsonl").read_bytes())
    lines = [json.dumps({"_id": name, "text": text}) + "\n" for name, text in queries.items()]
    (folder / "queries.jsonl").write_text("".join(lines))
    judged = "".join(f"{query}\t{document}\t1\n" for query, document in answers.items())
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return folder


def test_an_index_and_an_encoder_mine(run: Run, corpus: Path, model: Path, index: Path, tmp_path: Path) -> None:
    output = tmp_path / "mined.parquet"
    run("mine", f"{corpus}:test", "-o", output, "--by", index, "--by", model, "--depth", 4, "--keep", 4)
    found: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for row in rows(output):
        if not row["relevant"]:
            found.setdefault((row["query_id"], row["miner"]), []).append((row["document_id"], row["rank"]))
    queries = {"1": ("lift of a wing", "wing"), "2": ("zip archive", "zip")}
    encoder = Encoder.load(model)
    with Index.open(index) as opened:
        for query, (text, answer) in queries.items():
            hits = [(hit.id, hit.rank) for hit in opened.search(text, 4) if hit.id != answer]
            assert found.get((query, "notes.saelex"), []) == hits
            products = encoder.similarity(encoder.encode_query(text), encoder.encode_document(list(TEXT.values())))[0]
            ranked = sorted(zip(-products, TEXT))
            expected = [(name, i) for i, (product, name) in enumerate(ranked, 1) if product < 0 and name != answer]
            assert found.get((query, "model"), []) == expected
    assert len(found) == 4 and not (tmp_path / "mined.parquet.parts").exists()


def test_an_encoder_scores_and_its_scores_filter_the_next_mining(
    run: Run, corpus: Path, model: Path, tmp_path: Path
) -> None:
    mined, scored, again = (tmp_path / f"{name}.parquet" for name in ("mined", "scored", "again"))
    run("mine", f"{corpus}:test", "-o", mined, "--by", model, "--depth", 4, "--keep", 4)
    run("score", corpus, mined, "-o", scored, "--teacher", model, "--with-text")
    encoder = Encoder.load(model)
    for row in rows(scored):
        product = encoder.similarity(encoder.encode_query(row["query"]), encoder.encode_document(row["text"]))[0, 0]
        assert row["score"] == pytest.approx(float(product), rel=1e-5)
    by_scores = ("--from", scored, "--drop-above", 0.9)
    run("mine", f"{corpus}:test", "-o", again, "--by", model, "--depth", 4, "--keep", 4, *by_scores)
    positive = {row["query_id"]: row["score"] for row in rows(scored) if row["relevant"]}
    kept = [row for row in rows(scored) if row["relevant"] or row["score"] <= 0.9 * positive[row["query_id"]]]
    assert len(kept) < len(rows(scored))
    names = ("query_id", "document_id", "score")
    assert [[row[name] for name in names] for row in rows(again)] == [[row[name] for name in names] for row in kept]


def test_an_index_of_another_corpus(run: Run, corpus: Path, index: Path, tmp_path: Path) -> None:
    other = corpus_with(corpus, tmp_path / "other", {"1": "river banks"}, {"1": "wing"})
    lines = (other / "corpus.jsonl").read_text().replace('"river"', '"stream"')
    (other / "corpus.jsonl").write_text(lines)
    with pytest.raises(InputError, match=r"notes\.saelex finds the document 'river', which other does not have"):
        run("mine", f"{other}:test", "-o", tmp_path / "a.parquet", "--by", index)


def test_arguments_that_make_no_sense(run: Run, saelex: Saelex, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no split 'train'; it has test"):
        run("mine", corpus, "-o", tmp_path / "a.parquet")
    with pytest.raises(InputError, match="name them by --from"):
        run("mine", f"{corpus}:test", "-o", tmp_path / "a.parquet", "--drop-margin", 2)
    with pytest.raises(InputError, match="--weights are numbers with commas between"):
        run("score", corpus, "x.parquet", "-o", tmp_path / "a.parquet", "--teacher", "bm25", "--weights", "a")
    with pytest.raises(InputError, match="no such file"):
        run("score", corpus, tmp_path / "x.parquet", "-o", tmp_path / "a.parquet", "--teacher", "bm25")
    with pytest.raises(InputError, match="--language is of bm25, which is not asked for"):
        run("mine", f"{corpus}:test", "-o", tmp_path / "a.parquet", "--by", "./nowhere", "--language", "de")
    with pytest.raises(InputError, match="unknown language 'xx'"):
        run("mine", f"{corpus}:test", "-o", tmp_path / "a.parquet", "--language", "xx")
    with pytest.raises(InputError, match="no model"):
        run("mine", f"{corpus}:test", "-o", tmp_path / "a.parquet", "--by", "./nowhere")


def test_bm25_is_of_the_language_named(run: Run, corpus: Path, tmp_path: Path) -> None:
    """English finds a bank by "banks", plain words do not."""
    folder = corpus_with(corpus, tmp_path / "banks", {"3": "banks"}, {"3": "zip"})
    found = {}
    for language in ("en", "none"):
        mined, scored = (tmp_path / f"{name}-{language}.parquet" for name in ("mined", "scored"))
        run("mine", f"{folder}:test", "-o", mined, "--language", language)
        run("score", folder, mined, "-o", scored, "--teacher", "bm25", "--language", language)
        found[language] = {row["document_id"]: row["score"] for row in rows(scored)}
    assert found["en"].keys() == {"zip", "bank", "river"} and found["none"].keys() == {"zip", "river"}
    assert found["none"]["river"] > found["en"]["river"] > 0  # "banks" is rarer than all forms of bank


@pytest.mark.parametrize("verb", ["mine", "score"])
def test_pyarrow_is_named_where_it_is_missing(
    run: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    arguments = {"mine": [f"{corpus}:test"], "score": [corpus, "x.parquet", "--teacher", "bm25"]}[verb]
    with pytest.raises(InputError, match=r"pip install 'saelex\[train\]'"):
        run(verb, *arguments, "-o", tmp_path / "a.parquet")
