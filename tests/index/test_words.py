"""Word statistics of an index: a function of the live passages, in whatever order of calls they came."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.index.fakes import FakeEncoder, make_documents

from saelex.corpus.documents import Document
from saelex.index import adding
from saelex.index.disk.catalog import Transaction
from saelex.index.index import Index
from saelex.index.word_state import WordTotals

QUERIES = ["wing lift", "river bank flood", "a canoe and a sail", "only17 archive", "storm storm money"]


def corpus(n: int = 60) -> list[Document]:
    """Short ones first and long ones last, so that the mean length moves on the way; some have several passages."""
    documents = make_documents(n)
    return [
        Document(one.id, " ".join([one.text] * (1 + i // 8)), one.title, one.metadata)
        for i, one in enumerate(documents)
    ]


def found(index: Index) -> list[list[tuple[str, float]]]:
    """Hits by score and id: equal scores stand in the order of adding, which is another in every index."""
    hits = [index.search(query, k=len(index)) for query in QUERIES]
    return [sorted(((hit.id, hit.score) for hit in each), key=lambda pair: (-pair[1], pair[0])) for each in hits]


def in_calls(sizes: Sequence[int]) -> Callable[[Index], None]:
    def fill(index: Index) -> None:
        documents, start = corpus(), 0
        for size in sizes:
            index.add(documents[start : start + size])
            start += size
        index.add(documents[start:])

    return fill


def backwards(index: Index) -> None:
    documents = corpus()[::-1]
    for start in range(0, 60, 4):
        index.add(documents[start : start + 4])


def with_others_deleted(index: Index) -> None:
    others = [Document(f"x{i}", f"lift storm wing only17 {'word ' * i * 5}") for i in range(40)]
    index.add([*others[:30], *corpus()[:30]])
    index.merge()
    index.delete([one.id for one in others[:20]])
    index.add([*corpus()[30:], *others[30:]])
    index.delete([one.id for one in others[20:]])


def with_updates(index: Index) -> None:
    index.add([Document(one.id, "canoe canoe canoe wing " * 9, one.title) for one in corpus()[::2]])
    index.update(corpus()[:50])
    index.merge()
    index.update(corpus()[50:])


@pytest.mark.parametrize(("bits", "forward"), [(16, True), (8, False)])
@pytest.mark.parametrize(
    "fill",
    [in_calls([1]), in_calls([59]), in_calls([7] * 8), backwards, with_others_deleted, with_updates],
    ids=["1+59", "59+1", "sevens", "backwards", "deleted", "updated"],
)
def test_the_same_documents_in_any_order_of_calls_give_the_same_scores(
    tmp_path: Path, fill: Callable[[Index], None], forward: bool, bits: int
) -> None:
    with (
        Index.create(tmp_path / "once", FakeEncoder(), forward=forward, bits=bits) as once,
        Index.create(tmp_path / "calls", FakeEncoder(), forward=forward, bits=bits) as calls,
    ):
        once.add(corpus())
        fill(calls)
        assert len(calls) == 60 and calls.check().ok
        assert found(calls) == found(once)
        calls.merge()
        assert calls.check().ok and found(calls) == found(once)
        hit = calls.search(QUERIES[0], k=1)[0]
        assert math.fsum(row.contribution for row in hit.explain().contributions) == hit.score
    with Index.open(tmp_path / "calls", FakeEncoder()) as again, Index.open(tmp_path / "once", FakeEncoder()) as once:
        assert found(again) == found(once)


def in_languages() -> list[Document]:
    return [
        Document("de", "Die Häuser der Stadt wurden von den Bürgern gebaut"),
        Document("es", "Las casas de la ciudad fueron construidas por los ciudadanos"),
        Document("en", "The houses of the city were built by its citizens"),
        Document("ru", "Дома города были построены жителями"),
    ]


def test_languages_are_those_of_the_live_passages(tmp_path: Path) -> None:
    """What a query is cut by does not depend on documents that have gone, nor on the order of those that came."""
    one, other = in_languages()[:2], in_languages()[2:]
    queries = ["houses", "Haus", "casa ciudadanos", "дом", "citizens built"]
    with (
        Index.create(tmp_path / "once", FakeEncoder(), language="auto") as once,
        Index.create(tmp_path / "calls", FakeEncoder(), language="auto") as calls,
    ):
        once.add(one)
        calls.add(other)
        calls.add(one[1:])
        calls.add(one[:1])
        calls.delete([document.id for document in other])
        assert calls.check().ok
        wanted = [[(hit.id, hit.score) for hit in once.search(query)] for query in queries]
        assert [[(hit.id, hit.score) for hit in calls.search(query)] for query in queries] == wanted
    with Index.open(tmp_path / "calls", FakeEncoder()) as again:
        assert [[(hit.id, hit.score) for hit in again.search(query)] for query in queries] == wanted
        hit = again.search("Wo stehen Häuser", k=1)[0]
        assert hit.id == "de" and "word:häuser" in [row.label for row in hit.explain().contributions]


def test_the_language_is_the_encoders_unless_named(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    encoder.settings.word_language = "auto"
    for name, language in ((None, "auto"), ("de", "de")):
        with Index.create(tmp_path / language, encoder, language=name) as index:
            assert index.language == language


def test_commits_within_one_call_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Index.create(tmp_path / "once", FakeEncoder()) as index:
        index.add(corpus())
        wanted = found(index)
    monkeypatch.setattr(adding, "BATCH_PASSAGES", 5)
    with Index.create(tmp_path / "small", FakeEncoder()) as index:
        index.add(corpus())
        assert found(index) == wanted and index.check().ok


def test_words_score_as_bm25_of_the_live_passages(tmp_path: Path) -> None:
    """Lucene's form over all words of all passages, the mean length off by half a step at most."""
    with Index.create(tmp_path / "i", FakeEncoder(max_document_length=None)) as index:
        with_others_deleted(index)
        texts = {one.id: Counter(one.content.lower().replace(".", " ").split()) for one in corpus()}
        mean = sum(counts.total() for counts in texts.values()) / len(texts)
        for word in ("storm", "canoe"):
            df = sum(word in counts for counts in texts.values())
            idf = math.log1p((len(texts) - df + 0.5) / (df + 0.5))
            for hit in index.search(word, k=5):
                words = [row for row in hit.explain().contributions if row.label == f"word:{word}"]
                tf, length = texts[hit.id][word], texts[hit.id].total()
                wanted = idf * tf / (tf + 0.9 * (0.6 + 0.4 * length / mean))
                assert words[0].contribution == pytest.approx(wanted, rel=0.01)


def test_the_mean_length_moves_in_steps() -> None:
    lengths = [WordTotals(1000, words).mean_length for words in range(5000, 500_000, 7)]
    exact = np.arange(5000, 500_000, 7) / 1000
    assert np.abs(np.log2(np.array(lengths) / exact)).max() <= 1 / 32 + 1e-9
    assert len(set(lengths)) == 107  # 16 a power of two
    assert WordTotals().mean_length == WordTotals(3, 0).mean_length == 0


def test_a_commit_that_fails_leaves_words_and_weights_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weighing anew replaces every segment: none of it is there unless all is."""
    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        index.add(corpus()[:10])
        before, known = found(index), len(index._words or ())

        def full(*arguments: object) -> None:
            raise OSError(28, "No space left on device")

        for change in (lambda: index.add(corpus()[50:]), lambda: index.delete([one.id for one in corpus()[:9]])):
            with monkeypatch.context() as patch:
                patch.setattr(Transaction, "add_segment", full)
                with pytest.raises(Exception, match="No space left"):
                    change()
            assert found(index) == before and len(index._words or ()) == known and index.check().ok
        index.add(corpus()[10:])
        wanted = found(index)
    with Index.create(tmp_path / "once", FakeEncoder()) as index:
        index.add(corpus())
        assert found(index) == wanted


def test_an_index_with_words_of_another_format_says_so_in_one_line(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", FakeEncoder()) as index:
        index.add(corpus()[:3])
        catalog = index._storage.catalog
        state = catalog.state("words")
        assert state is not None and "saelex-words/5" in state
        with catalog.transaction() as transaction:
            transaction.set_state("words", state.replace("saelex-words/5", "saelex-words/4"))
    with pytest.raises(Exception, match=r"^[^\n]*kept as 'saelex-words/4'[^\n]*index the documents anew$"):
        Index.open(tmp_path / "i", FakeEncoder())
