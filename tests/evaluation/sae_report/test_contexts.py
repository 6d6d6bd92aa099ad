import numpy as np
import pytest
import torch

from saelex.evaluation.sae_report.contexts import Firing, TopFirings, in_words


def strongest(latents, texts, positions, latent, kept):
    """By sorting everything: the best token of each text, then the best texts; earlier ones first among equals."""
    best = {}
    for row in range(len(latents)):
        value = float(latents[row, latent])
        key = (value, -int(positions[row]))
        if value > 0 and key > best.get(int(texts[row]), (0.0, 0)):
            best[int(texts[row])] = key
    order = sorted(best.items(), key=lambda item: (-item[1][0], item[0]))[:kept]
    return [Firing(value, text, -position) for text, (value, position) in order]


@pytest.mark.parametrize("patience", [1, 50, 1 << 18])
@pytest.mark.parametrize("kept", [1, 3])
def test_strongest_firings_of_every_latent(patience, kept):
    generator = torch.Generator().manual_seed(0)
    tokens, n_latents = 300, 7
    # few distinct values, so that ties occur within texts and between them
    latents = torch.randint(-3, 5, (tokens, n_latents), generator=generator).clamp_min(0).float() / 2
    latents[:, 5] = 0
    texts = torch.arange(tokens) // 11
    positions = torch.arange(tokens) % 11 + 1
    found = TopFirings(n_latents, kept)
    found._patience = patience
    for piece in torch.arange(tokens).split(37):  # a text may be spread over two pieces
        found.observe(latents[piece], texts[piece], positions[piece])
    for latent, firings in found.of(range(n_latents)).items():
        assert firings == strongest(latents, texts, positions, latent, kept)
    assert found.of([5]) == {5: []}


class Characters:
    """A tokenizer of one token per character, after a special token."""

    def spans(self, text, side):
        assert side == "document"
        return [(0, 0)] + [(i, i + 1) for i in range(len(text))]


def test_contexts_are_cut_between_words_and_stand_on_one_line():
    long = "word " * 40 + "X\nnext " + "tail " * 40
    firings = {3: [Firing(2.0, 1, 201), Firing(1.0, 4, 1)], 9: [Firing(0.5, 1, 0)], 4: []}
    contexts = in_words(firings, ["never", long, "not read", "", "ab"], Characters())
    wide, narrow = contexts[3]
    assert (wide.activation, wide.token) == (2.0, "X")
    assert wide.before.startswith("… word ") and wide.before.endswith(" ")
    assert wide.after.startswith(" next tail") and wide.after.endswith("tail …")
    assert set(wide.before.split()) == {"…", "word"} and set(wide.after.split()) == {"next", "tail", "…"}
    assert len(wide.before) < 65 and len(wide.after) < 65
    assert tuple(narrow) == (1.0, "", "a", "b")
    assert contexts[9][0].token == "∅"
    assert contexts[4] == []


def test_texts_are_walked_no_further_than_needed():
    def texts():
        yield "ab"
        raise AssertionError("the second text is not needed")

    assert in_words({0: [Firing(1.0, 0, 2)]}, texts(), Characters())[0][0].token == "b"


def test_arrays_hold_what_was_kept():
    found = TopFirings(3, 2)
    found.observe(torch.tensor([[1.0, 0, 0]] * 5), torch.arange(5), torch.arange(5))
    found.observe(torch.tensor([[0.5, 0, 2]]), torch.tensor([9]), torch.tensor([4]))
    assert found.of([0, 2]) == {0: [Firing(1.0, 0, 0), Firing(1.0, 1, 1)], 2: [Firing(2.0, 9, 4)]}
    assert np.array_equal(found._held.latents, [0, 0, 2])
