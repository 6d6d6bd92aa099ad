"""Documents that answer questions of another collection."""

import json
import sys

from studies.corpora import shared_questions


def collection(folder, judged):
    folder.joinpath("qrels").mkdir(parents=True)
    documents = dict.fromkeys(document for document, _ in judged)
    rows = [{"_id": one, "title": "", "text": f"text of {one}"} for one in [*documents, "unjudged"]]
    folder.joinpath("corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    queries = [{"_id": query, "text": "why?"} for _, query in judged]
    folder.joinpath("queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    lines = [f"{query}\t{document}\t1\n" for document, query in judged]
    folder.joinpath("qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return str(folder)


def test_documents_whose_questions_are_shared(tmp_path, monkeypatch, capsys):
    translated = collection(tmp_path / "it", [("a", "q1"), ("a", "q2"), ("b", "q3"), ("c", "q4")])
    other = collection(tmp_path / "en", [("x", "q2"), ("y", "q4"), ("z", "q9")])
    output = tmp_path / "left-out.jsonl"
    monkeypatch.setattr(sys, "argv", ["shared_questions", translated, other, "--output", str(output)])
    shared_questions.main()
    assert [json.loads(line)["_id"] for line in output.read_text().splitlines()] == ["a", "c"]
    assert capsys.readouterr().out.startswith("2 of the documents answer 2 questions that")
