import numpy as np
import pytest
import torch

from saelex.encoder.tokens import TokenizedText
from saelex.training.mntp.masking import Masking

MASK, PAD = 3, 0
WORDS = np.arange(10, 1010)


def masking(shifted: bool = False, **changes) -> Masking:
    settings = {"share": 0.2, "mask_id": MASK, "keep": 0.1, "random": 0.1, "words": WORDS, "pad_id": PAD}
    return Masking(**(settings | {"shifted": shifted} | changes))


def text(*ids: int, special: tuple[int, ...] = (1, 2)) -> TokenizedText:
    return TokenizedText(np.array(ids), ~np.isin(ids, special))


def test_shares_of_masked_kept_and_random_tokens():
    generator = np.random.default_rng(0)
    texts = [text(1, *generator.choice(WORDS, 62), 2) for _ in range(2000)]
    batch = masking()(texts, generator)
    originals = torch.from_numpy(np.stack([text.ids for text in texts]))
    rows, columns, labels = batch["rows"], batch["columns"], batch["labels"]
    assert torch.equal(originals[rows, columns], labels)
    n = 2000 * 62
    assert len(labels) / n == pytest.approx(0.2, abs=4 * np.sqrt(0.2 * 0.8 / n))  # 4 standard deviations
    shown = batch["input_ids"][rows, columns]
    deviation = 4 * np.sqrt(0.1 * 0.9 / len(labels))
    assert float((shown == MASK).double().mean()) == pytest.approx(0.8, abs=2 * deviation)
    assert float((shown == labels).double().mean()) == pytest.approx(0.1 + 0.1 / 1000, abs=deviation)
    drawn = shown[(shown != MASK) & (shown != labels)].numpy()
    assert np.isin(drawn, WORDS).all()
    assert len(np.unique(drawn)) > 850  # 2,480 draws from 1,000 words miss 84 of them
    untouched = torch.ones_like(originals, dtype=torch.bool)
    untouched[rows, columns] = False
    assert torch.equal(batch["input_ids"][untouched], originals[untouched])


def test_special_tokens_and_padding_are_never_masked():
    texts = [text(1, 20, 2, 21, 2), text(1, 22, 2)]
    for seed in range(50):
        batch = masking(share=0.9)(texts, np.random.default_rng(seed))
        places = set(zip(batch["rows"].tolist(), batch["columns"].tolist()))
        assert places <= {(0, 1), (0, 3), (1, 1)}
        assert batch["input_ids"][1].tolist()[2:] == [2, PAD, PAD]
        assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]


def test_labels_shift_by_one_for_decoders():
    # all tokens that may be masked are: the first one has no state before it
    batch = masking(shifted=True, share=1 - 1e-12, keep=0.0, random=0.0)(
        [text(10, 11, 12), text(1, 13, 14, 15)], np.random.default_rng(0)
    )
    assert batch["input_ids"].tolist() == [[10, MASK, MASK, PAD], [1, MASK, MASK, MASK]]
    assert batch["rows"].tolist() == [0, 0, 1, 1, 1]
    assert batch["columns"].tolist() == [0, 1, 0, 1, 2]  # the token at i is predicted from i - 1
    assert batch["labels"].tolist() == [11, 12, 13, 14, 15]


def test_a_batch_has_something_to_predict():
    for seed in range(20):
        batch = masking(share=1e-9)([text(1, 20, 2), text(1, 21, 22, 2)], np.random.default_rng(seed))
        assert len(batch["labels"]) == 1
        assert int(batch["labels"]) in (20, 21, 22)


def test_the_same_generator_gives_the_same_batch():
    texts = [text(1, *range(20, 60), 2)]
    one, other = (masking()(texts, np.random.default_rng((5, 3, 7))) for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert texts[0].ids.tolist() == [1, *range(20, 60), 2]  # the texts themselves stay as they are
