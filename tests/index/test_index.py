"""Index: documents in, explained hits out."""

from __future__ import annotations

import gc
import math
import sqlite3
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.index.fakes import FakeEncoder, make_documents

from saelex.concepts.concept import Concept
from saelex.corpus.documents import Document
from saelex.encoder.words.channel import LexicalSettings
from saelex.errors import InputError, MismatchError, SaelexError
from saelex.index import adding
from saelex.index.disk import durable
from saelex.index.hits import Hit, hits_to_json
from saelex.index.index import Index
from saelex.index.passages import Passage
from saelex.index.search import Search
from saelex.vectors import SparseRows

TEXTS = {
    "wing": "The wing of an aircraft creates lift.",
    "bank": "A bank lends money; the river bank floods.",
    "zip": "Reading a zip archive.",
    "long": " ".join(f"Sentence {i} speaks of sailing and of word{i}." for i in range(40)),
}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "i", FakeEncoder()) as made:
        made.add(Document(name, text, name.title(), {"length": len(text)}) for name, text in TEXTS.items())
        yield made


def test_hits_equal_brute_force_over_passages(tmp_path: Path) -> None:
    encoder, documents = FakeEncoder(), make_documents(90)
    queries = ["wing lift", "only17 river", "Title 3 storm flood engine"]
    with Index.create(tmp_path / "i", encoder, words=False) as index:
        index.add(documents)
        rows = encoder.encode_document([document.content for document in documents])
        for query, hits in zip(queries, index.search_batch(queries, k=20)):
            scores = rows.dot(encoder.encode_query(query))[:, 0]
            assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
            found = {hit.id: hit.score for hit in hits}
            expected = np.sort(scores[scores > 0])[::-1][:20]
            np.testing.assert_allclose(sorted(found.values(), reverse=True), expected, rtol=1e-3)
            for name, score in found.items():
                assert score == pytest.approx(scores[int(name[1:])], rel=1e-3)
            assert [hit.id for hit in index.search(query, k=20)] == [hit.id for hit in hits]


def test_words_add_to_concepts_and_can_be_left_out(index: Index) -> None:
    with_words, without = index.search("word17"), index.search("word17", words=False)
    assert with_words[0].id == without[0].id == "long"
    assert "word17" in with_words[0].text
    rows = {row.label: row for row in with_words[0].explain().contributions}
    assert rows["word:word17"].contribution > 0 and rows["word:word17"].document_words == ["word17"]
    assert not any(row.label.startswith("word:") for row in without[0].explain().contributions)
    assert with_words[0].score == pytest.approx(without[0].score + rows["word:word17"].contribution, rel=1e-3)


@pytest.mark.parametrize("forward", [True, False])
def test_contributions_sum_to_the_score_and_name_words(tmp_path: Path, forward: bool) -> None:
    with Index.create(tmp_path / "i", FakeEncoder(), forward=forward) as index:
        index.add(Document(name, text) for name, text in TEXTS.items())
        for hit in index.search("wing aircraft lift money word3", k=4):
            explanation = hit.explain()
            assert explanation.score == hit.score
            assert math.fsum(row.contribution for row in explanation.contributions) == hit.score
            assert all(row.query_words and row.document_words for row in explanation.contributions)
            shared = {"wing", "aircraft", "lift", "money", "word3"} & set(hit.text.lower().rstrip(".").split())
            fired = {word.lower() for row in explanation.contributions for word in row.document_words}
            assert shared <= fired


def test_a_long_document_is_one_hit_with_its_best_passage(index: Index) -> None:
    hits = index.search("sailing word39", k=4)
    assert [hit.id for hit in hits].count("long") == 1 and hits[0].id == "long"
    assert "word39" in hits[0].text and "word1 " not in hits[0].text
    assert hits[0].document.text == TEXTS["long"]
    assert len(index) == 4
    # its many passages all match; the other documents are found nevertheless
    assert {hit.id for hit in index.search("sailing money zip", k=3)} == {"long", "bank", "zip"}


def test_json_of_a_search(index: Index) -> None:
    answer = hits_to_json("wing lift", index.search("wing lift", k=2))
    first: dict[str, Any] = answer["hits"][0]
    assert answer["query"] == "wing lift"
    assert list(first) == ["rank", "id", "score", "title", "text", "url", "metadata", "explanation"]
    assert (first["rank"], first["id"], first["title"]) == (1, "wing", "Wing")
    assert (first["url"], first["metadata"]) == (None, {"length": len(TEXTS["wing"])})
    index.add([{"id": "web", "text": "Gliders.", "url": "https://example.org/gliders"}])
    web = index.search("gliders", k=1)[0].to_json(explanation=False)
    assert web["url"] == web["metadata"]["url"] == "https://example.org/gliders"
    keys = {"latent", "label", "contribution", "query_words", "document_words"}
    assert all(set(row) == keys for row in first["explanation"])


def test_steering(index: Index) -> None:
    hit = index.search("wing", words=False)[0]
    latent = hit.explain().contributions[0].latent
    boosted = next(found for found in index.search("wing", boost=[f"{latent}=3"], words=False) if found.id == hit.id)
    rows = {row.latent: row for row in boosted.explain().contributions}
    before = {row.latent: row.contribution for row in hit.explain().contributions}
    assert rows[latent].contribution == pytest.approx(3 * before[latent], rel=1e-3) and rows[latent].note == "boost x3"
    assert math.fsum(row.contribution for row in rows.values()) == boosted.score
    others = [f"{other}" for other in before]
    assert "wing" not in [hit.id for hit in index.search("wing", ban=others, words=False)]
    assert index.search("wing", ban=others, add=["word:money=5"])[0].id == "bank"
    with pytest.raises(InputError, match="labels"):
        index.search("wing", boost=["flying"])
    index.write_concepts([Concept(latent, "flying", (), (), 0.1, 1.0)])
    named = next(found for found in index.search("wing", boost=["flying=3"], words=False) if found.id == hit.id)
    assert named.score == boosted.score
    assert "flying" in [row.label for row in named.explain().contributions]


def test_filters_apply_before_the_cut(tmp_path: Path) -> None:
    documents = make_documents(60)
    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        index.add(documents)
        everything = index.search("wing lift river", k=60)
        tests: dict[str, tuple[dict[str, Any], Any]] = {
            "equal": ({"lang": "en"}, lambda m: m["lang"] == "en"),
            "both": (
                {"lang": "de", "year": {">=": 2001, "<": 2012}},
                lambda m: m["lang"] == "de" and 2001 <= m["year"] < 2012,
            ),
            "list": ({"year": [1990, 1991, 2005]}, lambda m: m["year"] in (1990, 1991, 2005)),
            "none": ({"lang": "fr"}, lambda m: False),
        }
        for where, holds in tests.values():
            expected = [hit.id for hit in everything if holds(hit.document.metadata)]
            assert [hit.id for hit in index.search("wing lift river", k=3, where=where)] == expected[:3]
        index.delete([index.search("wing lift river", k=1, where={"lang": "en"})[0].id])
        english = [hit.id for hit in everything if hit.document.metadata["lang"] == "en"]
        assert [hit.id for hit in index.search("wing lift river", k=2, where={"lang": "en"})] == english[1:3]


def test_update_and_delete(index: Index) -> None:
    report = index.update([Document("wing", "Now about penguins."), Document("new", "A fresh canoe.")])
    assert report == (2, 0, 1) and len(index) == 5
    assert index.document("wing").text == "Now about penguins."
    assert index.search("penguins")[0].id == "wing"
    assert "wing" not in [hit.id for hit in index.search("aircraft")]
    index.delete(["long", "new"])
    assert len(index) == 3 and "long" not in index and index.search("sailing word3") == []
    index.add([Document("long", "Short again, sailing.")])
    assert index.search("sailing")[0].document.text == "Short again, sailing."
    assert index.check().ok, str(index.check())
    index.merge()
    assert index.check().ok and index.check().rows == 4 and index.check().deleted == 0
    assert index.search("sailing")[0].id == "long"
    with pytest.raises(InputError, match="'nobody' is not in the index"):
        index.delete(["zip", "nobody"])
    with pytest.raises(InputError, match="'nobody' is not in the index"):
        index.document("nobody")
    assert "zip" in index


def test_reopened_by_another_process_sees_the_same(index: Index) -> None:
    with Index.open(index.path, FakeEncoder()) as other:
        for query in ("wing lift", "word17 money", "zip"):
            assert [(hit.id, hit.score) for hit in other.search(query)] == [
                (hit.id, hit.score) for hit in index.search(query)
            ]
        index.add([Document("later", "Unheardof zebras.")])
        assert other.search("zebras")[0].id == "later"  # a new word, too
        assert other.fingerprint == index.fingerprint
        other.add([Document("more", "Zebras and okapis.")])
        assert {hit.id for hit in index.search("okapis zebras")} >= {"later", "more"}
        assert index.check().ok


def test_another_encoder_is_refused(index: Index) -> None:
    with pytest.raises(MismatchError, match="made with the encoder 'fake-8192-0'"):
        Index.open(index.path, FakeEncoder(seed=1))


def test_bad_documents_name_themselves_and_add_nothing(index: Index) -> None:
    good = Document("good", "Fine.")
    for bad, message in (
        (Document("empty", "  "), "document 'empty' is empty"),
        (Document("wing", "Again."), "document id 'wing' is in the index already"),
        (Document("good", "Twice."), "document id 'good' comes twice"),
        (Document("", "No id."), "not empty, not ''"),
        (Document("odd", "Text.", metadata={"x": {1, 2}}), "'odd': its metadata are not JSON"),
    ):
        with pytest.raises(InputError, match=message):
            index.add([good, bad])
        assert len(index) == 4 and "good" not in index
    with pytest.raises(InputError, match="query 1 is empty"):
        index.search("  ")
    index.add([good])
    assert index.check().ok


def test_earlier_batches_stay_and_resume_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "BATCH_PASSAGES", 10)
    documents = make_documents(35)

    def broken(first: int, last: int) -> Iterator[Document]:
        yield from documents[first:last]
        raise InputError("corpus.jsonl:25: not valid JSON")

    encoder = FakeEncoder()
    with Index.create(tmp_path / "i", encoder) as index:
        with pytest.raises(InputError, match=r"corpus.jsonl:25: not valid JSON$"):
            index.add(broken(0, 24))  # the statistics' documents were still being gathered
        assert len(index) == 0
        index.add(documents[:3])
        monkeypatch.setattr(adding, "_LOOKED_UP", 5)
        with pytest.raises(InputError, match=r"25: not valid JSON \(the 10 documents before it are in the index"):
            index.add(broken(3, 17))
        assert len(index) == 13
        before = encoder.encoded
        assert index.add(documents, resume=True) == (22, 13, 0)
        assert encoder.encoded == before + 22  # what was there is not encoded again
        assert len(index) == 35 and index.check().ok
        assert all(index.search(f"only{i}", k=1)[0].id == f"d{i}" for i in range(35))
        changed = [Document("d3", "Something else.")]
        with pytest.raises(InputError, match="'d3' is in the index already with other content"):
            index.add(changed, resume=True)


def test_an_index_keeps_the_language_of_its_words(tmp_path: Path) -> None:
    """ "Haus" finds "Häuser" in German alone, and after opening too; without words the default is for the labels."""
    encoder = FakeEncoder()
    documents = [Document("a", "Die Häuser am Fluss"), Document("b", "Der Wald und das Feld")]
    for language, wanted in (("de", ["word:haus"]), ("en", ["word:das"])):
        with Index.create(tmp_path / language, encoder, words=LexicalSettings(language)) as index:
            index.add(documents)
        with Index.open(tmp_path / language, encoder) as index:
            assert index.language == language
            rows = [row.label for hit in index.search("das Haus", 2) for row in hit.explain().contributions]
            assert [label for label in rows if label.startswith("word:")] == wanted
    with Index.create(tmp_path / "bare", encoder, words=False) as index:
        assert index.language == "en"
    with pytest.raises(InputError, match="unknown language 'xx'"):
        Index.create(tmp_path / "wrong", encoder, words=LexicalSettings("xx"))


def test_labels_can_be_derived_from_what_is_stored(index: Index) -> None:
    found = list(index.firings())
    assert {firing.document_id for firing in found} == set(TEXTS)
    for firing in found:
        row = index.encoder.encode_document(firing.text)
        assert firing.latents.tolist() == row.latents.tolist()
        assert row.positions is not None and firing.positions is not None
        assert firing.positions.tolist() == row.positions.tolist()
        np.testing.assert_allclose(firing.weights, row.weights, rtol=1e-2)


def test_labels_of_a_large_index_come_from_a_sample(index: Index) -> None:
    everything = {(firing.document_id, firing.text) for firing in index.firings()}
    sample = [(firing.document_id, firing.text) for firing in index.firings(most=3)]
    assert index.n_passages == len(everything) > 3
    assert len(sample) == len(set(sample)) == 3 and set(sample) <= everything
    assert sample == [(firing.document_id, firing.text) for firing in index.firings(most=3)]
    for firing in index.firings(most=3):
        assert firing.latents.tolist() == index.encoder.encode_document(firing.text).latents.tolist()


def test_an_id_that_comes_again_in_a_later_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "BATCH_PASSAGES", 10)
    documents = [*make_documents(12), Document("d3", "Again."), *make_documents(3, start=20)]
    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        for add in (index.add, index.update):  # both look all ids up before the first batch is stored
            with pytest.raises(InputError, match=r"'d3' comes twice; ids must be unique \(the 10 documents before"):
                add(documents)
            assert len(index) == 10 and index.check().ok and index.document("d3").text.startswith("only3 ")
            assert index.add(documents[:12], resume=True) == (2, 10, 0)
            index.delete(["d10", "d11"])


def test_ids_and_texts_that_are_no_unicode(index: Index) -> None:
    for bad in (Document("\ud800", "Text."), Document("odd", "Half \ud800.")):
        with pytest.raises(InputError, match="half a surrogate pair"):
            index.add([bad])
    with pytest.raises(InputError, match="a document's id is a string"):
        index.add([Document(["x"], "Text.")])  # type: ignore[arg-type]


def test_query_vectors_are_what_is_searched_with(index: Index) -> None:
    texts = ["wing lift", "word17 unheardof"]
    rows, latents = index.query_vectors(texts), index.query_vectors(texts, words=False)
    n_latents = index.encoder.n_latents
    assert rows.n_latents == latents.n_latents > n_latents
    assert latents.to_dicts() == index.encoder.encode_query(texts).to_dicts()
    assert (rows.lengths - latents.lengths).tolist() == [2, 1]
    stored = next(iter(index.stored()))
    scores = rows.dot(stored.rows)
    for i, text in enumerate(texts):
        best = index.search(text, k=1)[0]
        assert best.score == pytest.approx(scores[i].max(), rel=1e-3)
        assert best.id == stored.ids[int(scores[i].argmax())]


def as_tuples(hits: list[Hit]) -> list[tuple[Any, ...]]:
    return [(hit.rank, hit.id, hit.score, hit.passage, hit.explain().to_json()) for hit in hits]


def test_vectors_find_what_their_texts_find(index: Index) -> None:
    texts = ["wing lift", "word17 sailing", "zip"]
    latents = index.encoder.encode_query(texts)
    for words in (True, False):
        expected = index.search_batch(texts, k=3, words=words)
        for rows in (latents, index.query_vectors(texts, words=words)):
            answers = index.search_vectors(rows, k=3, texts=texts, words=words)
            assert list(map(as_tuples, answers)) == list(map(as_tuples, expected))
    with_words = index.query_vectors(texts)
    left_out = index.search_vectors(with_words, k=3, texts=texts, words=False)
    assert list(map(as_tuples, left_out)) == list(map(as_tuples, index.search_batch(texts, k=3, words=False)))
    # without texts there are no words to match, and none to name
    hit, expected_hit = index.search_vectors(latents, k=1)[0][0], index.search(texts[0], k=1, words=False)[0]
    assert (hit.id, hit.score) == (expected_hit.id, expected_hit.score)
    assert all(row.document_words and not row.query_words for row in hit.explain().contributions)
    options = {"where": {"length": {"<": 40}}, "ban": [str(expected_hit.explain().contributions[0].latent)]}
    steered = index.search_vectors(latents[:1], k=2, texts=texts[:1], **options)  # type: ignore[arg-type]
    assert list(map(as_tuples, steered)) == [as_tuples(index.search(texts[0], k=2, **options))]  # type: ignore[arg-type]
    assert index.search_vectors(latents[:0]) == [] and index.search_vectors(SparseRows.empty(8192, 1)) == [[]]
    with pytest.raises(MismatchError, match="have 8192 latents, these 8191"):
        index.search_vectors(SparseRows.empty(8191, 1))
    with pytest.raises(MismatchError, match="have 8192 latents"):
        index.search_vectors(SparseRows.empty(8192 + 10_000, 1))
    with pytest.raises(InputError, match="1 texts for 2 query vectors"):
        index.search_vectors(latents[:2], texts=["wing"])


@pytest.mark.parametrize("words", [True, False])
def test_vectors_made_elsewhere_are_stored_as_if_encoded_here(tmp_path: Path, words: bool) -> None:
    encoder, documents = FakeEncoder(), [Document(*item) for item in TEXTS.items()]
    with (
        Index.create(tmp_path / "a", encoder, words=words) as index,
        Index.create(tmp_path / "b", encoder, words=words) as other,
    ):
        index.add(documents)
        borders = [[hit.passage for hit in [index.find(text, name, words=False)]] for name, text in TEXTS.items()]
        number, _ = index._storage.catalog.find([documents[-1].id])[documents[-1].id]
        stored = index._storage.catalog.documents([number])[number]
        borders[-1] = [Passage(*ends) for ends in stored.passages]
        texts = [TEXTS[name][start:end] for name, parts in zip(TEXTS, borders) for start, end in parts]
        before, rows = encoder.encoded, encoder.encode_document(texts)
        assert other.add_vectors(documents, rows, passages=borders) == (4, 0, 0)
        assert encoder.encoded == before + len(texts)  # nothing was encoded for the second index
        assert other.add_vectors(documents, rows, passages=borders, resume=True) == (0, 4, 0)
        for query in ("wing lift", "sailing word39", "money"):
            assert as_tuples(other.search(query, k=4)) == as_tuples(index.search(query, k=4))
        assert other.check().ok and other.fingerprint == index.fingerprint


def test_vectors_that_do_not_go_with_their_documents(index: Index) -> None:
    documents = [{"id": "a", "text": "One wing."}, {"id": "b", "text": "Two."}]
    rows = index.encoder.encode_document(["One wing.", "Two."])
    for arguments, message in (
        ({"rows": rows[:1]}, "'b' has no vector: there are vectors of 1 documents"),
        ({"rows": rows[[0, 1, 1]]}, "vectors of 3 documents for 2; those 2 are in the index"),
        ({"rows": rows, "passages": [[(0, 3)]]}, "2 vectors for 1 passages"),
        ({"rows": rows, "passages": [[(0, 3)], [(0, 5)]]}, "'b': its passages are not parts of its 4 characters"),
        ({"rows": rows, "passages": [[(0, 3), (4, 8)], []]}, "'b': its passages are not parts"),
    ):
        with pytest.raises(InputError, match=message):
            index.add_vectors(iter(documents), **arguments)  # type: ignore[arg-type]
        if "a" in index:
            index.delete(["a", "b"])
    with pytest.raises(InputError, match="vectors of 3 documents for 2; nothing was added"):
        index.add_vectors(documents, rows[[0, 1, 1]])
    assert "a" not in index
    with pytest.raises(MismatchError, match="have 8192 latents, these 7"):
        index.add_vectors(documents, SparseRows.empty(7, 2))
    with pytest.raises(InputError, match="a document is a Document or a mapping"):
        index.add(["One wing."])  # type: ignore[list-item]
    assert len(index) == 4 and index.check().ok


def test_one_documents_place_and_reasons(index: Index) -> None:
    query = "sailing money zip"
    for hit in index.search(query, k=10):
        assert as_tuples([index.find(query, hit.id)]) == as_tuples([hit])
        assert index.explain(query, hit.id).to_json() == hit.explain().to_json()
    with pytest.raises(InputError, match="'wing' scores 0"):
        index.find("zip", "wing", words=False)
    with pytest.raises(InputError, match="or is filtered out"):
        index.find("wing", "wing", where={"length": 1})
    with Index.open(index.path, FakeEncoder()) as other:
        other.add(make_documents(30))
    assert index.find("only7 wing", "d7").id == "d7"  # and every other document of that commit, at whatever rank
    with pytest.raises(InputError, match="'nobody' is not in the index"):
        index.explain(query, "nobody")


def test_open_or_create(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such index; give the encoder"):
        Index.at(tmp_path / "i")
    with Index.at(tmp_path / "i", FakeEncoder(), words=False) as index:
        index.add([Document("a", "Wings.")])
        assert repr(index) == f"Index({str(tmp_path / 'i')!r}, 1 documents, encoder 'fake-8192-0')"
    with Index.at(tmp_path / "i", FakeEncoder()) as index:
        hit = index.search("wings")[0]
        with pytest.raises(InputError, match="'word' is no setting of an index"):
            Index.at(tmp_path / "i", word=False)
        assert repr(hit) == f"Hit(rank=1, score={hit.score:.6g}, id='a', title='')"
    assert repr(index) == f"Index({str(tmp_path / 'i')!r}, closed, encoder 'fake-8192-0')"
    for settings, message in (
        ({"words": True}, "words=False, not True"),
        ({"forward": False}, "forward=True, not False"),
        ({"bits": 8}, "bits=16, not 8"),
        ({"pruned": True}, "pruned=False, not True"),
        ({"language": "en"}, "language=None, not en"),
    ):
        with pytest.raises(InputError, match=message):
            Index.at(tmp_path / "i", FakeEncoder(), **settings)
    with pytest.raises(MismatchError, match="made with the encoder"):
        Index.at(tmp_path / "i", FakeEncoder(seed=1))
    with Index.at(tmp_path / "i", lambda: pytest.fail("it has an encoder already"), words=False, language=None):
        pass


@pytest.mark.parametrize("name", ["a\0b", "a" * 300, "loop/a"])
def test_a_name_that_no_folder_can_have_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    path = f"{tmp_path}/{name}"
    for use in (Index.open, lambda path: Index.create(path, FakeEncoder()), lambda path: Index.at(path, FakeEncoder())):
        with pytest.raises(SaelexError) as caught:
            use(path)
        assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("forward", [True, False])
def test_copies_of_a_text_have_equal_vectors_in_one_add(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forward: bool
) -> None:
    """Whatever batch they fall into, though the encoder gives other last bits every time."""
    monkeypatch.setattr(adding, "BATCH_PASSAGES", 25)
    monkeypatch.setattr(adding, "_LOOKED_UP", 7)
    texts = [document.text for document in make_documents(40)]
    order = np.random.default_rng(0).permutation(120)
    documents = [Document(f"n{i:03}", texts[place % 40]) for i, place in enumerate(order)]
    encoder = Unsteady()
    with Index.create(tmp_path / "i", encoder, forward=forward) as index:
        before = encoder.encoded
        assert index.add(documents) == (120, 0, 0)
        assert encoder.encoded == before + 40  # each different text once
        assert index.check().ok and len(index._storage.snapshot.segments) == 5
        for i in range(40):
            copies = sorted(document.id for document in documents if document.text == texts[i])
            hits = index.search(texts[i], k=3)
            assert [hit.id for hit in hits] == copies  # ties in the order in which they were added
            assert len({hit.score for hit in hits}) == 1


@pytest.mark.parametrize("words", [True, False])
def test_copies_keep_the_tokens_at_which_their_latents_fired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: bool
) -> None:
    monkeypatch.setattr(adding, "BATCH_PASSAGES", 4)
    documents = [Document(f"d{i}", TEXTS["wing" if i % 2 else "bank"]) for i in range(12)]
    with Index.create(tmp_path / "i", FakeEncoder(), words=words) as index:
        index.add(documents)  # batches two and three hold nothing but copies
        index.merge()
        for hit in index.search("wing money", k=12, words=False):
            assert all(row.document_words for row in hit.explain().contributions), hit
        assert index.check().ok


def test_a_text_that_an_update_has_replaced_is_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "BATCH_PASSAGES", 1)
    monkeypatch.setattr(adding, "_LOOKED_UP", 1)
    other = [Document(f"f{i}", f"Filler number{i}.") for i in range(30)]
    documents = [Document("a", "Gliders soar."), Document("a", "Boats sail."), *other, Document("b", "Gliders soar.")]
    with Index.create(tmp_path / "i", FakeEncoder(), words=False) as index:
        index.update(documents)
        assert index.search("gliders soar", k=1)[0].id == "b"
        assert index.document("a").text == "Boats sail." and index.check().ok


class Unsteady(FakeEncoder):
    """A text's weights depend on how many were encoded before it, as those of real models do on a batch's shape."""

    def _row(self, text: str) -> SparseRows:
        self.rows = getattr(self, "rows", 0) + 1
        row = super()._row(text)
        return row.with_weights(row.weights * (1 + self.rows / 1000))


def test_what_cannot_be_asked_is_said_before_anything_is_loaded(index: Index, tmp_path: Path) -> None:
    with Index.open(index.path) as unloaded:  # its encoder's name stands for none, so loading it would fail
        for options, message in (
            ({"mode": "fast"}, "unknown search mode 'fast'"),
            ({"k": 0}, "k is the number of hits"),
            ({"where": {"length": {"~": 3}}}, "unknown comparison"),
            ({"ban": ["99999"]}, "no latent 99999"),
        ):
            with pytest.raises(InputError, match=message):
                unloaded.search("wing", **options)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="wehre"):
            unloaded.search_batch(["wing"], wehre={"length": 1})  # type: ignore[call-arg]
        rows = index.encoder.encode_query(["wing"])
        assert unloaded.search_vectors(rows)[0][0].id == "wing"
    with (
        Index.create(tmp_path / "bare", FakeEncoder(), forward=False) as bare,
        pytest.raises(InputError, match="created without what capped search reads"),
    ):
        bare.search("wing", mode="capped")


def test_filters_do_not_keep_what_was_merged_away(index: Index) -> None:
    assert index.search("wing", where={"length": {">": 1}})
    old = weakref.ref(index._storage.snapshot)
    index.add([Document("later", "A wing.", metadata={"length": 7})])
    gc.collect()
    assert old() is None
    assert "later" in [hit.id for hit in index.search("wing", where={"length": 7})]


def test_fill_adds_and_labels(index: Index, tmp_path: Path) -> None:
    report = index.fill(make_documents(30))
    assert report.documents == (30, 0, 0) and report.labelled and index.concepts is not None
    assert str(report) == f"30 added, {report.labelled:,} concepts labelled"
    assert str(index.fill(make_documents(30), resume=True)) == "0 added, 30 there already"
    with Index.create(tmp_path / "bare", FakeEncoder(), forward=False) as bare:
        assert bare.fill(make_documents(3)) == ((3, 0, 0), None) and bare.concepts is None


def test_more_hits_than_there_are_rows_cost_nothing(index: Index) -> None:
    assert {hit.id for hit in index.search("sailing money zip wing", k=10**12)} == set(TEXTS)


def test_a_commit_between_the_search_and_its_documents(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread deletes and updates after the snapshot was taken, and has gone on to its own commit already."""
    best_rows = Search._best_rows
    changes = [lambda: index.delete(["zip"]), lambda: index.update([Document("bank", "A zip of money.")])]

    def changing(*arguments: Any) -> Any:
        found = best_rows(*arguments)
        if changes:
            changes.pop()()
        return found

    monkeypatch.setattr(Search, "_best_rows", changing)
    hits = index.search("zip money")
    assert not changes and hits[0].id == "bank" and "zip" not in [hit.id for hit in hits]
    assert hits[0].text == "A zip of money."


def test_a_filter_is_of_the_snapshot_that_is_searched(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    views, pending = Search._views, [Document("bank", "A bank lends money.", metadata={"length": 1})]

    def changing(*arguments: Any) -> Any:
        if pending:  # another process commits, so that the document's number in the snapshot is no longer its number
            with Index.open(index.path, FakeEncoder()) as other:
                other.update([pending.pop()])
        return views(*arguments)

    monkeypatch.setattr(Search, "_views", changing)
    assert index.search("lends", where={"length": {">": 0}})[0].document.metadata == {"length": 1}


def test_a_reader_in_the_writers_process_may_be_first_to_see_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words of the commit are in the channel already when they are read from the catalogue."""
    commit = durable.commit
    with Index.create(tmp_path / "i", FakeEncoder()) as index:

        def committed(connection: sqlite3.Connection) -> None:
            commit(connection)
            index._refresh()

        monkeypatch.setattr(durable, "commit", committed)
        for start in (0, 5, 10):
            index.add(make_documents(5, start=start))
        words = index._storage.catalog.words(0)
        assert words == list(index._words.channel) and len(words) == len(set(words))  # type: ignore[union-attr]
        assert index.check().ok
        for i in range(15):
            best = index.search(f"only{i}", k=1)[0]
            assert best.id == f"d{i}" and f"word:only{i}" in {row.label for row in best.explain().contributions}


def test_a_lone_string_is_one_name(index: Index) -> None:
    latent = index.search("wing", words=False)[0].explain().contributions[0].latent
    assert index.search("wing", boost=f"{latent}=3")[0].score == index.search("wing", boost=[f"{latent}=3"])[0].score
    with pytest.raises(InputError, match="takes a list of queries"):
        index.search_batch("wing")


def test_a_catalogue_that_cannot_be_read_now_is_one_clear_error(index: Index) -> None:
    expected = pytest.raises(SaelexError, match=r"cannot be read now \(database is locked\); try again")
    with expected, index._storage.catalog.reading():
        raise sqlite3.OperationalError("database is locked")  # what SQLite says after half a minute


def test_labels_that_another_process_writes_are_seen(index: Index) -> None:
    def concept(label: str) -> Concept:
        return Concept(latent, label, (), (), 0.1, 1.0)

    hit = index.search("wing", words=False)[0]
    latent = hit.explain().contributions[0].latent
    with Index.open(index.path, FakeEncoder()) as other:
        other.write_concepts([concept("flying")])
        before = index.search("wing", words=False, boost=["flying=2"])[0]
        other.write_concepts([concept("soaring")])
    assert index.search("wing", words=False, boost=["soaring=2"])[0].explain().contributions[0].label == "soaring"
    assert before.explain().contributions[0].label == "flying"  # as it was when it was found
    with pytest.raises(InputError, match="no concept is labelled 'flying'"):
        index.search("wing", boost=["flying=2"])


def test_generation_and_postings_read(index: Index) -> None:
    with Index.open(index.path, FakeEncoder()) as other:
        first = other.generation
        index.add([{"id": "new", "text": "the wing"}])
        assert other.generation > first
        latents = other.query_vectors(["wing"]).latents
        counts = [sum(latent in row for row in _latents_of_rows(other)) for latent in latents.tolist()]
        before = other.postings_read
        other.search("wing")
        assert other.postings_read - before == sum(counts) > 0


def _latents_of_rows(index: Index) -> list[set[int]]:
    return [set(latents.tolist()) for part in index.stored() for latents, _ in part.rows]


def test_a_vector_that_is_there_already_is_not_made_again(index: Index) -> None:
    encoder = index.encoder
    assert isinstance(encoder, FakeEncoder)
    vector = encoder.encode_query(["wing lift"])
    found, fired = index.find("wing lift", "wing"), index.concepts_in("wing lift")
    before = encoder.encoded
    again = index.find("wing lift", "wing", vector=vector)
    assert (again.rank, again.score) == (found.rank, found.score)
    assert index.concepts_in("wing lift", vector=vector) == fired
    assert encoder.encoded == before
    with pytest.raises(MismatchError):
        index.find("wing", "wing", vector=SparseRows.empty(3, 1))
