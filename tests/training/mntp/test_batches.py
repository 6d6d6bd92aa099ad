from itertools import islice

import numpy as np
import pytest

from saelex.encoder.tokens import TokenizedText
from saelex.training.mntp.batches import TokenBank, endless_batches, plan_run, split_heldout

LENGTHS = np.random.default_rng(0).integers(3, 60, 500)


def test_a_pass_has_every_text_once_and_batches_within_the_budget():
    batches, seen = [], 0
    for batch in endless_batches(LENGTHS, 256, None, 0):
        batches.append(batch)
        seen += len(batch)
        if seen == len(LENGTHS):
            break
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(LENGTHS)))
    padded = [len(batch) * LENGTHS[batch].max() for batch in batches]
    assert max(padded) <= 256
    assert LENGTHS.sum() / sum(padded) > 0.9  # texts of similar length share a batch
    second = list(islice(endless_batches(LENGTHS, 256, None, 0), len(batches), 2 * len(batches)))
    assert sorted(np.concatenate(second).tolist()) == list(range(len(LENGTHS)))
    assert [batch.tolist() for batch in second] != [batch.tolist() for batch in batches]
    lengths_in_order = [int(LENGTHS[batch].max()) for batch in batches]
    assert lengths_in_order != sorted(lengths_in_order, reverse=True)  # batches of long texts do not come first
    assert max(map(len, islice(endless_batches(LENGTHS, 256, 5, 0), 100))) == 5


def test_a_run_has_the_steps_or_tokens_asked_for():
    options = {"budget": 256, "most_texts": None, "seed": 1, "per_step": 2}
    assert len(plan_run(LENGTHS, steps=70, tokens=None, **options)) == 140
    plan = plan_run(LENGTHS, steps=None, tokens=5000, **options)
    seen = [int(LENGTHS[batch].sum()) for batch in plan]
    assert len(plan) % 2 == 0
    assert sum(seen) >= 5000 > sum(seen[:-2])
    once = plan_run(LENGTHS, steps=None, tokens=None, **options)
    assert sum(int(LENGTHS[batch].sum()) for batch in once) == pytest.approx(LENGTHS.sum(), abs=2 * 256)
    assert all(np.array_equal(a, b) for a, b in zip(plan, once))


def test_heldout_texts_are_others():
    learned, held = split_heldout(1000, 50, 0)
    assert len(held) == 50
    assert sorted([*learned, *held]) == list(range(1000))
    assert len(split_heldout(100, 50, 0)[1]) == 10
    assert not np.array_equal(held, split_heldout(1000, 50, 1)[1])


def test_the_bank_gives_texts_back():
    texts = [TokenizedText(np.array(ids), np.array(ids) > 2) for ids in ([1, 70_000, 2], [1, 5, 6, 7, 2])]
    bank = TokenBank(iter(texts))
    assert len(bank) == 2
    assert bank.lengths.tolist() == [3, 5]
    for i, text in enumerate(texts):
        assert bank[i].ids.tolist() == text.ids.tolist()
        assert bank[i].pooled.tolist() == text.pooled.tolist()
