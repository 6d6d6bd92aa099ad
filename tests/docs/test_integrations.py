"""docs/integrations.md: every block runs, and finds what a search finds. The encoder is a quick one without a model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.docs.running import PAGES, blocks, run_page
from tests.index.fakes import FakeEncoder, make_documents

from saelex.encoder.encoder import Encoder
from saelex.index.index import Index

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "false"
os.environ["LANGSMITH_TRACING"] = os.environ["LANGCHAIN_TRACING_V2"] = "false"


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("langchain_core", "langchain_qdrant", "llama_index.core"):
        pytest.importorskip(package)
    pytest.importorskip("haystack", minversion="3")
    monkeypatch.setattr(Encoder, "load", lambda name: FakeEncoder())
    monkeypatch.chdir(tmp_path)
    with Index.create("notes.saelex", FakeEncoder()) as index:
        index.add(make_documents(40))
        names = run_page("integrations.md")
        late = [hit.id for hit in index.search("river flood", k=40, where={"year": {">=": 2000}})]
        wings = [hit.id for hit in index.search("how do wings create lift?", k=5, where={"lang": "en"})]
        english = {"lang": "en", "year": {">=": 2001}}
        assert [hit.id for hit in names["hits"]] == [hit.id for hit in index.search("river flood", where=english)]
    assert [document.id for document in names["documents"]] == wings != []
    assert [node.node_id for node in names["nodes"]] == wings[:3]
    assert [document.id for document in names["recent"]] == late[:2]
    assert [document.id for document in names["found"]] == late[:3]
    assert "river" in names["prompt"] or "flood" in names["prompt"]
    [(nearest, score)] = names["nearest"]
    assert nearest.page_content == "A wing creates lift." and score > 0
    [stored] = names["store"].filter_documents()
    assert set(stored.sparse_embedding.indices) & set(names["query"].indices)


def test_blocks_are_found_with_their_lines(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n\n```python\nx = 1\n```\n\n```sh\nls\n```\n\n```python\ny = x\n\nz = y\n```\n", encoding="utf-8"
    )
    assert list(blocks(page)) == [(4, "x = 1\n"), (12, "y = x\n\nz = y\n")]
    text = (PAGES / "integrations.md").read_text(encoding="utf-8")
    assert len(list(blocks(PAGES / "integrations.md"))) == text.count("```python") == 9
