"""Indexes, documents, concepts and vectors over HTTP."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from tests.index.fakes import FakeEncoder
from tests.server.conftest import DOCUMENTS, Serve, problem

from saelex import __version__
from saelex.index.index import Index


def test_what_is_served(serve: Serve, index: Index, labelled: Index) -> None:
    client = serve()
    told = client.get("/v1/notes").json()
    assert told == {
        "name": "notes", "documents": 4, "passages": 4, "latents": 8192, "encoder": "fake-8192-0",
        "fingerprint": FakeEncoder().fingerprint, "words": True, "language": "en", "labels": True,
        "label_languages": [], "forward": True, "pruned": False, "writable": False,
        "fields": [
            {"name": "lang", "kinds": ["string"], "values": ["de", "en"]},
            {"name": "url", "kinds": ["string"], "values": ["https://example.org/fluss"]},
            {"name": "year", "kinds": ["number"], "values": [1950, 1990, 2010]},
        ],
    }  # fmt: skip
    assert client.get("/v1/indexes").json() == {"indexes": [told], "version": __version__}
    assert "no index 'other'" in problem(client.get("/v1/other"), 404)


def test_a_document_of_any_id(serve: Serve) -> None:
    client = serve()
    for one in DOCUMENTS:
        found = client.get(f"/v1/notes/documents/{quote(one['id'], safe='')}").json()
        metadata = {name: value for name, value in one.items() if name not in ("id", "title", "text")}
        assert found == {
            "id": one["id"], "title": one.get("title", ""), "text": one["text"], "url": one.get("url"),
            "metadata": metadata,
        }  # fmt: skip
    assert "no document 'none'" in problem(client.get("/v1/notes/documents/none"), 404)


def test_documents_come_and_go_where_the_server_is_writable(serve: Serve, index: Index) -> None:
    reader, writer = serve(), serve(writable=True)
    new = {"documents": [{"id": "n", "text": "A glider.", "title": "T", "lang": "en", "tags": ["a"]}]}
    assert "--writable" in problem(reader.post("/v1/notes/documents", json=new), 403)
    assert "--writable" in problem(reader.delete("/v1/notes/documents/wing"), 403)
    made = writer.post("/v1/notes/documents", json=new)
    assert (made.status_code, made.json()) == (201, {"added": 1, "updated": 0})
    assert reader.get("/v1/notes/documents/n").json()["metadata"] == {"lang": "en", "tags": ["a"]}
    assert "in the index already" in problem(writer.post("/v1/notes/documents", json=new), 400)
    both = {"documents": [{"id": "n", "text": "A sail."}, {"id": "m", "text": "A sail."}], "update": True}
    assert writer.post("/v1/notes/documents", json=both).json() == {"added": 1, "updated": 1}
    assert [hit["id"] for hit in reader.post("/v1/notes/search", json={"query": "glider"}).json()["hits"]] == []
    assert problem(writer.post("/v1/notes/documents/delete", json={"ids": ["n", "x"]}), 404)
    assert "n" in index
    assert writer.post("/v1/notes/documents/delete", json={"ids": ["n", "m", "n"]}).json() == {"deleted": 2}
    gone = writer.delete(f"/v1/notes/documents/{quote('a/zip ?#', safe='')}")
    assert (gone.status_code, gone.content) == (204, b"") and "a/zip ?#" not in index
    assert problem(writer.delete("/v1/notes/documents/n"), 404)
    assert len(index) == 3


def test_what_cannot_be_added_is_refused_whole(serve: Serve, index: Index) -> None:
    client = serve(writable=True)
    good = {"id": "g", "text": "A glider."}
    for bad, told in (
        ({"id": "g", "text": "again"}, "comes twice"),
        ({"id": "e", "text": " ", "title": ""}, "is empty"),
        ({"id": " ", "text": "x"}, "blank"),
        ({"id": 5, "text": "x"}, "documents.1.id"),
        ({"text": "x"}, "documents.1.id"),
        ({"id": "t", "text": "x", "title": None}, "title"),
    ):
        assert told in problem(client.post("/v1/notes/documents", json={"documents": [good, bad]}), 400)
    half = b'{"documents": [{"id": "h", "text": "x", "tags": ["\\ud800"]}]}'
    answer = client.post("/v1/notes/documents", content=half, headers={"content-type": "application/json"})
    assert "surrogate" in problem(answer, 400)
    assert len(index) == 4


def test_concepts_of_a_text_with_their_places(serve: Serve, labelled: Index) -> None:
    text = "A wing, the WING; a bank"
    answer = serve().get("/v1/notes/concepts", params={"text": text}).json()
    assert (answer["text"], answer["side"]) == (text, "query")
    own = labelled.concepts_in(text)
    assert [one["latent"] for one in answer["concepts"]] == [one.latent for one in own]
    for one, fired in zip(answer["concepts"], own):
        assert (one["label"], one["weight"], one["words"]) == (fired.label, fired.weight, fired.words)
        places = [text[mark["start"] : mark["end"]].lower() for mark in one["marks"]]
        assert places == ["wing", "wing"] if fired.words == ["wing"] else len(places) <= 2
    document = serve().get("/v1/notes/concepts", params={"text": text, "side": "document"}).json()
    assert document["side"] == "document"


def test_concepts_by_name(serve: Serve, labelled: Index) -> None:
    client = serve()
    first = labelled.concepts_in("wing")[0]
    named = client.get("/v1/notes/concepts", params={"name": "FLY"}).json()
    flying = {"latent": labelled.concept_named("flying"), "label": "flying", "density": 0.25}
    assert named == {"concepts": [flying]}
    assert len(client.get("/v1/notes/concepts", params={"name": "shore"}).json()["concepts"]) == 2
    by_id = client.get("/v1/notes/concepts", params={"name": f"#{first.latent}"}).json()["concepts"]
    assert [one["latent"] for one in by_id] == [first.latent]
    assert client.get("/v1/notes/concepts", params={"name": "99999"}).json() == {"concepts": []}
    assert "one of them" in problem(client.get("/v1/notes/concepts"), 400)
    assert "one of them" in problem(client.get("/v1/notes/concepts", params={"name": "a", "text": "a"}), 400)
    assert "side" in problem(client.get("/v1/notes/concepts", params={"name": "a", "side": "query"}), 400)


def test_one_concept(serve: Serve, labelled: Index) -> None:
    client = serve()
    latent = labelled.concept_named("flying")
    assert client.get(f"/v1/notes/concepts/{latent}").json() == labelled.concept(latent).to_json()
    assert "no latent 8192" in problem(client.get("/v1/notes/concepts/8192"), 404)
    assert "latent" in problem(client.get("/v1/notes/concepts/wing"), 400)


def test_vectors_are_the_encoders(serve: Serve, index: Index) -> None:
    client, texts = serve(), ["wing lift", "money"]
    rows = index.encoder.encode_document(texts)
    expected = [dict(zip(latents.tolist(), weights.tolist())) for latents, weights in rows]
    answer = client.post("/v1/notes/encode", json={"texts": texts, "side": "document"}).json()
    assert answer["latents"] == 8192
    assert [dict(zip(row["indices"], row["values"])) for row in answer["vectors"]] == expected
    sparse = client.post("/v1/notes/embed_sparse", json={"inputs": texts}).json()
    assert [{one["index"]: one["value"] for one in row} for row in sparse] == expected
    single = client.post("/v1/notes/embed_sparse", json={"inputs": "money", "truncate": True, "prompt_name": "query"})
    assert [{one["index"]: one["value"] for one in row} for row in single.json()] == expected[1:]


def test_a_text_that_would_be_cut_is_refused_unless_that_is_asked_for(serve: Serve, index: Index) -> None:
    client = serve()
    cut = lambda text, side: [(0, 0), (0, 4)]
    index.encoder.token_spans = cut  # type: ignore[method-assign]
    assert "input 2" in problem(client.post("/v1/notes/embed_sparse", json={"inputs": ["wing ", "wing lift"]}), 413)
    assert client.post("/v1/notes/embed_sparse", json={"inputs": "wing lift", "truncate": True}).status_code == 200


def test_dense_embeddings_are_refused_with_the_reason(serve: Serve) -> None:
    told = problem(serve().post("/v1/embeddings", json={"input": "x", "model": "y"}), 501)
    assert "sparse" in told and "/v1/notes/embed_sparse" in told


def test_health_readiness_and_metrics(serve: Serve, index: Index) -> None:
    client = serve()
    assert client.get("/health").json() == {"status": "alive"}
    assert client.get("/ready").json() == {"status": "ready"}
    before = index.postings_read
    for query in ("wing", "wing", "money"):
        client.post("/v1/notes/search", json={"query": query, "explain": True})
    read = index.postings_read - before
    lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[:1] != "#")
    route = 'method="POST",route="/v1/{index}/search",status="200"'
    assert float(lines[f"saelex_requests_total{{{route}}}"]) == 3
    assert float(lines['saelex_query_vectors_total{found="cached"}']) == 1
    assert float(lines['saelex_stage_seconds_count{stage="encode"}']) == 2
    assert float(lines['saelex_stage_seconds_count{stage="explain"}']) == 3
    assert float(lines['saelex_batch_items_count{queue="search"}']) == 3
    assert float(lines['saelex_postings_read_total{index="notes"}']) == index.postings_read and read > 0
    assert float(lines['saelex_queue_items{queue="encode"}']) == 0


def test_a_damaged_index_is_not_ready_and_names_no_path(serve: Serve, index: Index, tmp_path: Path) -> None:
    client = serve()
    catalog = index.path / "catalog.sqlite"
    catalog.write_bytes(b"x" * catalog.stat().st_size)
    told = problem(client.get("/ready"), 503)
    assert str(tmp_path) not in told and "log" in told
