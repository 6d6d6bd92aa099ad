from itertools import islice

import numpy as np
import pytest
import torch

from saelex.errors import InputError
from saelex.sae.training.buffer import ArrayStates, Position, ShuffleBuffer, as_source


def numbered(tokens):
    return torch.arange(tokens, dtype=torch.float32)[:, None].repeat(1, 3)


def draw(buffer, batches):
    return [batch[:, 0].tolist() for batch in islice(iter(buffer), batches)]


@pytest.mark.parametrize(
    "source",
    [numbered(100), numbered(100).numpy().astype(np.float16), [numbered(100)[i : i + 7] for i in range(0, 100, 7)]],
    ids=["tensor", "float16 array", "list of chunks"],
)
def test_a_pass_gives_every_token_once_in_random_order(source):
    drawn = draw(ShuffleBuffer(as_source(source), batch_tokens=10, capacity=40, seed=0), 20)
    first, second = ([token for batch in some for token in batch] for some in (drawn[:10], drawn[10:]))
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second != list(range(100))


def test_any_position_can_be_resumed():
    source = ArrayStates(numbered(97), chunk_tokens=8)
    whole = ShuffleBuffer(source, batch_tokens=5, capacity=32, seed=3)
    states, batches = [], []
    for batch in islice(iter(whole), 50):
        batches.append(batch)
        states.append(whole.state())
    for stopped in (0, 4, 5, 6, 18, 19, 37):
        again = ShuffleBuffer(source, batch_tokens=5, capacity=32, seed=3, position=Position(**states[stopped]))
        for expected, batch in zip(batches[stopped + 1 :], again):
            assert torch.equal(expected, batch)


def test_batches_are_float32_and_never_hold_a_token_twice():
    buffer = ShuffleBuffer(as_source(numbered(64).half()), batch_tokens=16, capacity=1000, seed=1)
    for batch in islice(iter(buffer), 12):
        assert batch.dtype == torch.float32
        assert len(set(batch[:, 0].tolist())) == 16


def test_fewer_tokens_than_a_batch_are_walked_again():
    batch = next(iter(ShuffleBuffer(as_source(numbered(6)), batch_tokens=8, capacity=8, seed=0)))
    assert sorted(set(batch[:, 0].tolist())) == list(range(6))


def test_no_states_are_an_error():
    with pytest.raises(InputError, match="empty"):
        next(iter(ShuffleBuffer(as_source(torch.empty(0, 4)), batch_tokens=8, capacity=8, seed=0)))
    with pytest.raises(InputError, match="walked again"):
        as_source(numbered(5) for _ in range(3))
    with pytest.raises(InputError, match="shape"):
        as_source(torch.zeros(3))
