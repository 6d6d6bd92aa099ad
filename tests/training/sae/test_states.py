import numpy as np
import pytest
import torch
from tests.encoder.tiny_models import TEXTS
from tests.training.sae.toys import expected_states

from saelex.encoder.backbone.backbone import Backbone
from saelex.errors import InputError
from saelex.training.sae.states import BackboneStates, cache_in_memory, cache_on_disk
from saelex.training.text_settings import TokenStates


def by_first(states):
    return states[states[:, 0].argsort()]


@pytest.mark.parametrize("budget", [16, 4096])
def test_states_are_the_blocks_output_without_special_tokens(bert, budget):
    source = BackboneStates(Backbone.load(bert, layer=2), lambda: ["", *TEXTS, "  "], TokenStates(token_budget=budget))
    states = torch.cat(list(source.chunks(0, 0)))
    expected = expected_states(bert, TEXTS, 2)
    assert states.shape == expected.shape
    torch.testing.assert_close(by_first(states), by_first(expected), rtol=1e-4, atol=1e-5)


def test_prompt_length_and_sinks(bert):
    backbone = Backbone.load(bert, layer=1)
    settings = TokenStates(prompt="lift: ", max_length=9)
    states = torch.cat(list(BackboneStates(backbone, lambda: TEXTS, settings).chunks(0, 0)))
    expected = expected_states(bert, TEXTS, 1, "lift: ", 9)
    torch.testing.assert_close(by_first(states), by_first(expected), rtol=1e-4, atol=1e-5)
    norms = expected.norm(dim=1).sort().values
    gap = int(norms.diff().argmax())  # between two norms, so that rounding decides nothing
    limit = float((norms[gap] + norms[gap + 1]) / 2)
    settings = TokenStates(prompt="lift: ", max_length=9, sink_norm=limit)
    quiet = torch.cat(list(BackboneStates(backbone, lambda: TEXTS, settings).chunks(0, 0)))
    assert len(quiet) == gap + 1 < len(expected)


def test_chunks_begin_where_asked(bert):
    texts = [f"lift {word} of {number}" for number in range(300) for word in ("wing", "bank")]
    source = BackboneStates(Backbone.load(bert, layer=0), lambda: iter(texts), TokenStates())
    whole = list(source.chunks(0, 0))
    assert len(whole) == 3
    for one, other in zip(whole[1:], source.chunks(0, 1)):
        assert torch.equal(one, other)


def test_caches_hold_every_state_as_float16(bert, tmp_path):
    source = BackboneStates(Backbone.load(bert, layer=1), lambda: TEXTS, TokenStates())
    expected = torch.cat(list(source.chunks(0, 0))).half().numpy()
    for cached in (cache_in_memory(source), cache_on_disk(source, tmp_path / "deep" / "states.float16")):
        np.testing.assert_array_equal(np.asarray(cached.array), expected)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["states.float16"]

    class Untouched:
        d_model = source.d_model

        def chunks(self, epoch, start):
            raise AssertionError("the cache was not used")

    again = cache_on_disk(Untouched(), tmp_path / "deep" / "states.float16")
    np.testing.assert_array_equal(np.asarray(again.array), expected)


def test_an_interrupted_disk_cache_leaves_nothing(tmp_path):
    class Broken:
        d_model = 2

        def chunks(self, epoch, start):
            yield torch.ones(3, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache_on_disk(Broken(), tmp_path / "states.float16")
    assert list(tmp_path.iterdir()) == []


def test_states_beyond_float16_are_refused():
    class Huge:
        d_model = 2

        def chunks(self, epoch, start):
            yield torch.full((1, 2), 1e6)

    with pytest.raises(InputError, match="float16"):
        cache_in_memory(Huge())
