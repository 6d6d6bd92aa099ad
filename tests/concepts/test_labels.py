from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from saelex.concepts.content import content_words
from saelex.concepts.labels import Firing, derive_labels, passage

AVIATION = ["wing", "airfoil", "lift", "flutter"]
MUSIC = ["violin", "melody", "chord", "rhythm"]
FILLER = ["table", "river", "stone", "paper", "window", "garden", "letter", "bottle", "market", "winter"]


def make_firings(n: int, seed: int, n_latents: int = 8) -> list[Firing]:
    """Texts about aviation or music: latent 0 fires at aviation words, 1 at music words, 2 at "the", 3 anywhere."""
    random = np.random.default_rng(seed)
    firings = []
    for i in range(n):
        topic = AVIATION if i % 2 else MUSIC
        words = [str(w) for w in random.choice(FILLER, 8)]
        words[3] = words[4] = "the"
        words += [str(w) for w in random.choice(topic, 3, replace=False)]
        text = " ".join(words)
        spans = [(0, 0), *((m.start(), m.end()) for m in re.finditer(r"\w+", text))]
        latents = [0 if i % 2 else 1, 2, 3]
        weights = random.uniform(1, 2, 3)
        positions = [1 + int(random.integers(8, 11)), 4, int(random.integers(0, 12))]
        firings.append(Firing(f"d{i}", text, np.array(latents), weights, np.array(positions), spans))
    return firings


def test_labels_are_the_words_where_a_latent_fires() -> None:
    firings = make_firings(200, seed=0)
    concepts = {concept.latent: concept for concept in derive_labels(iter(firings), 8)}
    assert sorted(concepts) == [0, 1, 2, 3]
    assert set(re.findall(r"\w+", concepts[0].label)) <= set(AVIATION)
    assert set(re.findall(r"\w+", concepts[1].label)) <= set(MUSIC)
    label = concepts[2].label
    assert label.endswith(" (context)")  # it fires at "the": its label is what stands around, and says so
    assert set(re.findall(r"\w+", label)) - {"context"} <= {*FILLER, *AVIATION, *MUSIC}
    assert concepts[2].evidence[0].word == "the"
    assert concepts[0].density == 0.5
    weights = [firing.weights[0] for firing in firings if firing.latents[0] == 0]
    assert concepts[0].mean_weight == pytest.approx(np.mean(weights))


def test_examples_are_the_strongest_from_different_documents() -> None:
    firings = make_firings(200, seed=1)
    concepts = {concept.latent: concept for concept in derive_labels(iter(firings), 8)}
    examples = concepts[1].examples
    assert len(examples) == 4
    assert len({example.document_id for example in examples}) == 4
    assert examples[0].weight == max(firing.weights[0] for firing in firings if firing.latents[0] == 1)
    assert all(example.word in example.passage and example.word in MUSIC for example in examples)
    assert len({example.word for example in examples}) >= 3  # of the strongest eight, other words first


def test_no_two_inflections_and_pairs_where_they_belong_together() -> None:
    firings = []
    for i in range(60):
        text = f"{FILLER[i % 10]} boundary layers {FILLER[i % 7]}" if i % 3 else f"{FILLER[i % 10]} of boundary layer"
        at = text.index("boundary")
        spans = [(0, 0), (at, at + 8), (text.index("layer"), text.index("layer") + 5)]
        other = (0, len(text.split()[0]))
        firings.append(Firing(str(i), text, np.array([5]), np.array([1.0]), np.array([1 + i % 2]), spans))
        firings.append(Firing(f"x{i}", text, np.array([6]), np.array([1.0]), np.array([0]), [other]))
    label = next(derive_labels(firings, 8)).label
    assert label.split(" · ")[0] == "boundary layers"
    assert label.count("layer") == 1


def test_special_tokens_and_unknown_positions_give_no_label_but_count() -> None:
    text = "a wing and a tail"
    known = Firing("a", text, np.array([1, 3]), np.array([1.0, 1.0]), np.array([0, 1]), [(2, 6), (13, 17)])
    special = Firing("b", text, np.array([1, 2]), np.array([3.0, 1.0]), np.array([0, -1]), [(0, 0)])
    unknown = Firing("c", text, np.array([1]), np.array([2.0]), None, [])
    empty = Firing("d", "", np.array([], np.int64), np.array([]), np.array([], np.int64), [])
    concepts = list(derive_labels([known, special, unknown, empty], 4))
    assert [(concept.latent, concept.label) for concept in concepts] == [(1, "wing"), (3, "tail")]
    assert (concepts[0].density, concepts[0].mean_weight) == (0.75, 2.0)
    assert [example.document_id for example in concepts[0].examples] == ["a"]


def test_no_firings_no_concepts() -> None:
    assert list(derive_labels([], 4)) == []


def test_passage_is_cut_between_words() -> None:
    text = "first " + "filler " * 30 + "WORD" + "\n\nafter" * 30
    cut = passage(text, text.index("WORD"), text.index("WORD") + 4)
    assert cut.startswith("… filler filler")
    assert cut.endswith(" …")
    assert " WORD after " in cut
    assert len(cut) < 175
    assert passage("a short one", 2, 7) == "a short one"


@pytest.mark.parametrize(
    ("language", "text", "fired"),
    [
        ("en", "the wing , and it is lift .", ["the", ",", "it", "."]),
        ("de", "der Flügel , und es ist Auftrieb .", ["der", ",", "und", "es"]),
        ("ru", "это крыло , и он не там .", ["и", "он", "не", ","]),
        ("none", "wing ( lift ) ; a - b", ["(", ")", ";", "-"]),
        ("zh", "机翼，升力。", ["，", "。"]),
    ],
)
def test_no_label_is_made_of_function_words_or_signs(language: str, text: str, fired: list[str]) -> None:
    is_content = content_words(language)
    firings = []
    for number, word in enumerate(fired * 3):
        start = text.index(word)
        spans = [(start, start + len(word))]
        latent = np.array([number % len(fired)])
        firings.append(Firing(f"d{number}", text, latent, np.ones(1), np.zeros(1, np.int64), spans))
    concepts = list(derive_labels(firings, len(fired), language=language))
    for concept in concepts:
        assert concept.label.endswith(" (context)")
        for word in concept.label.removesuffix(" (context)").replace(" · ", " ").split():
            assert is_content(word), (language, concept.label)


@pytest.mark.parametrize("word", ["the", "The", ",", "«", "a", "don't", "It’s", "_", "--", "q"])
def test_words_that_say_nothing(word: str) -> None:
    assert not content_words("en")(word)


@pytest.mark.parametrize("word", ["wing", "wing's", "42", "read_text", "lift-induced", "東", "U-boat"])
def test_words_that_say_something(word: str) -> None:
    assert content_words("en")(word)


SENTENCES = {
    "en": "We have all seen that the {} is a thing which {} people in the city like and want to have.",
    "de": "Wir haben alle gesehen, dass {} etwas ist, das {} Leute in der Stadt gerne haben wollen.",
    "zh": "我们都看到{}是城市里{}的人们喜欢并且想要拥有的东西。",
}
SUBJECTS = {
    "en": (["wing", "lift"], ["violin", "chord"]),
    "de": (["Flügel", "Auftrieb"], ["Geige", "Akkord"]),
    "zh": (["机翼", "升力"], ["提琴", "和弦"]),
}
OTHERS = {
    "en": ["many", "young", "old", "rich", "poor"],
    "de": ["viele", "junge", "alte", "reiche", "arme"],
    "zh": ["许多", "年轻", "年老", "富有", "贫穷"],
}


def in_language(language: str, n: int) -> list[Firing]:
    """Texts in which latent 0 fires at words of aviation, 1 at those of music, 2 at another word; Han is spelt."""
    firings = []
    for i in range(n):
        subject = SUBJECTS[language][i % 2][i // 2 % 2]
        text = SENTENCES[language].format(subject, OTHERS[language][i % 5])
        spans = [(0, 0), *((m.start(), m.end()) for m in re.finditer(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+", text))]
        places = {start: position for position, (start, end) in enumerate(spans) if end}
        positions = np.array([places[text.index(subject)], places[text.index(OTHERS[language][i % 5])]])
        firings.append(Firing(f"{language}{i}", text, np.array([i % 2, 2]), np.ones(2), positions, spans))
    return firings


def labels_of(firings: list[Firing], language: str = "auto") -> dict[int, dict[str, str]]:
    return {concept.latent: dict(concept.labels) for concept in derive_labels(firings, 4, language=language)}


def words_of(label: str) -> set[str]:
    return set(label.split(" · "))


def test_several_languages_have_labels_of_their_own_texts() -> None:
    firings = [firing for language in SENTENCES for firing in in_language(language, 40)]
    labels = labels_of(firings)
    for latent in (0, 1):
        assert sorted(labels[latent]) == ["de", "en", "zh"]
    for language in ("en", "de"):
        for latent in (0, 1):
            wanted = {word.lower() for word in SUBJECTS[language][latent]}
            assert words_of(labels[latent][language]) & wanted == wanted, labels[latent]
            texts = " ".join(firing.text for firing in firings if firing.document_id.startswith(language)).lower()
            assert all(word in texts for word in words_of(labels[latent][language]))
    assert labels_of(firings, "en") == {0: {}, 1: {}, 2: {}}


def test_labels_in_languages_stand_beside_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    firings = [*in_language("en", 40), *in_language("de", 40)]
    spoken = list(derive_labels(firings, 4, language="auto"))
    monkeypatch.setattr("saelex.concepts.labels.told_language", lambda text: None)
    plain = list(derive_labels(firings, 4, language="auto"))
    assert [replace(concept, labels={}) for concept in spoken] == plain != spoken


def test_chinese_labels_are_words_where_the_tokenizer_spells_them() -> None:
    firings = [
        *in_language("en", 20),
        *pieces_of("机翼|，|产生|升力|，|因为|空气|流动", 3),
        *pieces_of("提琴|演奏|音乐", 3),
    ]
    wing = next(concept for concept in derive_labels(firings, 4, language="auto") if concept.latent == 3)
    assert wing.labels == {"zh": "机翼"} and wing.evidence[0].word == wing.examples[0].word == "机翼"
    assert words_of(wing.label) == {"机翼", "升力", "产生"}


def pieces_of(pieces: str, n: int) -> list[Firing]:
    """Texts with these pieces; latent 3 fires at the first word where it is of aviation, latent 2 elsewhere."""
    text = pieces.replace("|", "")
    starts = np.cumsum([0, *map(len, pieces.split("|"))]).tolist()
    spans = list(pairwise(starts))
    latents = np.array([2, 3]) if "机" in text else np.array([2])
    positions = np.array([2, 0])[: len(latents)]
    return [Firing(f"{text}{i}", text, latents, np.ones(len(latents)), positions, spans) for i in range(2 * n)]


def test_a_corpus_of_one_language_has_the_labels_that_it_had() -> None:
    few = in_language("zh", 1)  # in a hundred and fifty: told by mistake, or quoted
    firings = [*in_language("de", 150), *few]
    assert all(labels == {} for labels in labels_of(firings).values())


def test_too_few_texts_give_no_label_in_their_language() -> None:
    firings = [*in_language("en", 40), *in_language("de", 8)]  # four of each subject
    labels = labels_of(firings)
    assert sorted(labels[0]) == sorted(labels[1]) == ["en"]
    assert sorted(labels_of([*firings, *in_language("de", 8)])[0]) == ["de", "en"]
