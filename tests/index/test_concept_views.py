"""Which concepts a text has, and all that an index knows of one: against counts over the documents themselves."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest
from tests.index.fakes import FakeEncoder, make_documents

from saelex.concepts.concept import Concept
from saelex.errors import InputError, MismatchError
from saelex.index.index import Index

DOCUMENTS = make_documents(60)


@pytest.fixture(params=[True, False], ids=["forward", "postings"])
def index(tmp_path: Path, request: pytest.FixtureRequest) -> Index:
    made = Index.create(tmp_path / "i", FakeEncoder(), forward=request.param)
    made.add(DOCUMENTS[:30])
    made.add(DOCUMENTS[30:])
    made.delete(["d3", "d40"])
    return made


def fired_in(index: Index) -> list[set[int]]:
    """The latents of every document that is there."""
    live = [document for document in DOCUMENTS if document.id not in ("d3", "d40")]
    rows = index.encoder.encode_document([document.content for document in live])
    return [set(rows[i].latents.tolist()) for i in range(len(rows))]


def test_concepts_of_a_text(index: Index) -> None:
    fired, documents = index.concepts_in("the wing , lift"), fired_in(index)
    row = index.encoder.encode_query(["the wing , lift"])
    assert {concept.latent: concept.weight for concept in fired} == pytest.approx(row.to_dicts()[0])
    assert [concept.weight for concept in fired] == sorted((concept.weight for concept in fired), reverse=True)
    for concept in fired:
        share = sum(concept.latent in latents for latents in documents) / len(documents)
        assert concept.density == pytest.approx(share)
        assert (concept.words in (["wing"], ["lift"])) != (concept.context in (["wing"], ["lift"]))
        assert concept.label == f"latent {concept.latent}"
    with pytest.raises(InputError, match="empty"):
        index.concepts_in(" ")
    with pytest.raises(InputError, match="not as 'queries'"):
        index.concepts_in("wing", side="queries")  # type: ignore[arg-type]


def test_all_that_is_known_of_one(index: Index) -> None:
    documents = fired_in(index)
    counts = Counter(latent for latents in documents for latent in latents)
    latent = next(latent for latent, count in counts.most_common() if count < 30)
    view = index.concept(latent)
    assert view.density == pytest.approx(counts[latent] / len(documents))
    assert [near.latent for near in view.neighbours][:2] == [latent + 1, latent + 2]
    having = [latents for latents in documents if latent in latents]
    together = Counter(other for latents in having for other in latents if other != latent)

    def particular(other: int) -> float:
        share = together[other] / len(having)
        return share * math.log(share / (counts[other] / len(documents)))

    best = sorted(map(particular, together), reverse=True)[: len(view.fires_with)]
    assert [particular(near.latent) for near in view.fires_with] == pytest.approx(best)
    for near in view.fires_with:
        assert near.similarity == pytest.approx(together[near.latent] / len(having))
    assert json.loads(json.dumps(view.to_json()))["latent"] == latent
    for wrong in (-1, index.n_latents, True):
        with pytest.raises(InputError, match="no latent"):
            index.concept(wrong)


def test_labels_go_out_and_come_back(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        index.add(make_documents(40))
        with pytest.raises(InputError, match="no labels yet"):
            index.export_labels(tmp_path / "labels.jsonl")
        count = index.label()
        assert index.concepts is not None
        concepts = list(index.concepts)
        assert index.export_labels(tmp_path / "labels.jsonl") == count == len(concepts)
        assert index.import_labels(tmp_path / "labels.jsonl") == count
        assert list(index.concepts) == concepts
        chosen = concepts[0].latent
        own = tmp_path / "own.jsonl"
        header = (tmp_path / "labels.jsonl").read_text().splitlines()[0]
        own.write_text(f'{header}\n{{"latent": {chosen}, "label": "My Own"}}\n')
        assert index.import_labels(own) == count
        index.label()
        assert index.concepts[chosen].label == "My Own" and index.concepts[chosen].source == "user"
        assert index.concept_named("my own") == chosen
        assert index.concept(chosen).concept == index.concepts[chosen]
        before = list(index.concepts)
        own.write_text(f'{header}\n{{"latent": {chosen}, "label": 3}}\n')
        with pytest.raises(InputError, match=r"own\.jsonl:2"):
            index.import_labels(own)
        assert list(index.concepts) == before
    with (
        Index.create(tmp_path / "other", FakeEncoder(seed=1)) as other,
        pytest.raises(MismatchError, match="of another encoder"),
    ):
        other.import_labels(tmp_path / "labels.jsonl")


def test_a_name_of_several_concepts_lists_them(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        index.add(make_documents(4))
        lines = "".join(f'{{"latent": {i}, "label": "river {i}"}}\n' for i in range(3))
        own = tmp_path / "own.jsonl"
        own.write_text(f'{{"format": "saelex-labels/1", "fingerprint": "{index.encoder.fingerprint}"}}\n{lines}')
        index.import_labels(own)
        with pytest.raises(InputError, match=r"'river' fits 3 concepts; name one by its id: #0 \(river 0\), #1"):
            index.concept_named("river")
        assert index.concept_named("river 2") == index.concept_named("#2") == 2
        for name in ("word:river", "  ", 2):
            with pytest.raises(InputError, match="is no concept; give its id"):
                index.concept_named(name)  # type: ignore[arg-type]


def test_concepts_in_the_readers_language(index: Index) -> None:
    """That of a text is told; without a text it is named, or the labels are those of the whole corpus."""
    wing = index.concepts_in("wing")[0].latent
    index.write_concepts([Concept(wing, "wing · Flügel", (), (), 0.5, 1.0, labels={"de": "Flügel", "en": "wing"})])
    german, english = "Wie entsteht der Auftrieb eines wing?", "Where does the lift of a wing come from?"

    def label(text: str, language: str | None = None) -> str:
        return {concept.latent: concept.label for concept in index.concepts_in(text, language=language)}[wing]

    assert (label(german), label(english), label(english, "de")) == ("Flügel", "wing", "Flügel")
    assert label(english, "fr") == "wing · Flügel"
    assert (index.concept(wing).label, index.concept(wing, language="de").label) == ("wing · Flügel", "Flügel")
    before = (wing - 1) % index.n_latents
    assert index.concept(before, language="de").neighbours[0].label == "Flügel"
    assert index.concept_named("flügel") == wing
    with pytest.raises(InputError, match="labels: unknown language 'auto'"):
        index.concept(wing, language="auto")
