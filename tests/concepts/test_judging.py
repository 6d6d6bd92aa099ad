from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from saelex.concepts.concept import Concept, Evidence
from saelex.concepts.judging import _auc, held_out, judge_labels
from saelex.concepts.labels import Firing, derive_labels
from saelex.errors import InputError

TOPICS = [
    ["wing", "airfoil", "lift"],
    ["violin", "melody", "chord"],
    ["court", "judge", "appeal"],
    ["goal", "team", "ball"],
]
FILLER = ["table", "river", "stone", "paper", "window", "garden", "letter", "bottle", "market", "winter"]


def make_firings(n: int, seed: int) -> list[Firing]:
    """Latent t fires at a word of topic t; latent 4 at chance, at a word of filling."""
    random = np.random.default_rng(seed)
    firings = []
    for i in range(n):
        topic = int(random.integers(4))
        words = [*random.choice(FILLER, 4).tolist(), *random.choice(TOPICS[topic], 2).tolist()]
        text = " ".join(words)
        starts = np.cumsum([0, *(len(word) + 1 for word in words[:-1])])
        spans = [(int(start), int(start) + len(word)) for start, word in zip(starts, words)]
        latents, positions = [topic], [4]
        if random.random() < 0.5:
            latents, positions = [topic, 4], [4, 0]
        firings.append(
            Firing(f"{seed}-{i}", text, np.array(latents), np.ones(len(latents)), np.array(positions), spans)
        )
    return firings


def test_true_labels_predict_and_exchanged_ones_do_not() -> None:
    concepts = list(derive_labels(make_firings(400, seed=0), 5))
    report = judge_labels(concepts, make_firings(300, seed=1))
    by_latent = {judged.latent: judged for judged in report.judgements}
    assert all(by_latent[topic].auc > 0.95 and by_latent[topic].precision > 0.9 for topic in range(4))
    assert by_latent[4].auc == pytest.approx(0.5, abs=0.15)
    assert report.control_auc < 0.6
    assert report.auc == pytest.approx(np.mean([judged.auc for judged in report.judgements]))
    assert str(report).startswith("labels of 5 latents judged on 300 held-out texts: AUC 0.")


def test_the_same_seed_judges_the_same() -> None:
    concepts, texts = list(derive_labels(make_firings(200, seed=0), 5)), make_firings(200, seed=1)
    assert judge_labels(concepts, texts, sample=3) == judge_labels(concepts, texts, sample=3)


def test_area_under_the_curve_counts_ties_half() -> None:
    active = np.array([True, True, False, False, False])
    scores = np.array([2.0, 1.0, 1.0, 0.0, 3.0])
    pairs = [(s > t) + (s == t) / 2 for s in scores[active] for t in scores[~active]]
    assert _auc(scores, active) == pytest.approx(np.mean(pairs))


def test_latents_that_fire_too_seldom_are_not_judged() -> None:
    concepts = list(derive_labels(make_firings(200, seed=0), 5))
    with pytest.raises(InputError, match="too few held-out texts"):
        judge_labels(concepts, make_firings(6, seed=1))
    with pytest.raises(InputError, match="too few held-out texts"):
        judge_labels([dataclasses.replace(concept, evidence=()) for concept in concepts], make_firings(200, seed=1))


def test_held_out_goes_by_the_id_alone() -> None:
    ids = [f"document {i}" for i in range(2000)]
    assert np.mean([held_out(name, 0.2) for name in ids]) == pytest.approx(0.2, abs=0.03)
    assert {name for name in ids if held_out(name, 0.1)} <= {name for name in ids if held_out(name, 0.2)}


def test_whole_words_of_a_script_without_spaces_are_told_apart() -> None:
    """Two words of Thai that begin with the same letters; the tokenizer has each in one piece."""
    topics, fillers = ["การเงิน", "การบิน"], ["ตลาด", "แม่น้ำ", "หน้าต่าง"]
    firings = []
    for i in range(60):
        words = [fillers[i % 3], topics[i % 2], fillers[i // 2 % 3]]
        ends = np.cumsum([len(word) for word in words]).tolist()
        spans = list(zip([0, *ends[:-1]], ends))
        firings.append(Firing(f"d{i}", "".join(words), np.array([i % 2]), np.ones(1), np.array([1]), spans))
    concepts = [Concept(i, word, (Evidence(word, 2.0),), (), 0.5, 1.0) for i, word in enumerate(topics)]
    report = judge_labels(concepts, firings, language="auto")
    assert [(judged.auc, judged.control_auc) for judged in report.judgements] == [(1.0, 0.0), (1.0, 0.0)]
