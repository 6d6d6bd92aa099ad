import math

import numpy as np
import pytest

from saelex.errors import InputError
from saelex.training.retrieval.schedules import TargetSparsity, annealed_k, ramp


def test_ramps_grow_from_0_to_1():
    assert [ramp("linear", step, 4) for step in (0, 1, 2, 4, 9)] == [0, 0.25, 0.5, 1, 1]
    assert [ramp("quadratic", step, 4) for step in (0, 1, 2, 4, 9)] == [0, 1 / 16, 0.25, 1, 1]
    assert [ramp("constant", step, 4) for step in (0, 1, 9)] == [1, 1, 1]
    assert [ramp(kind, 0, 0) for kind in ("constant", "linear", "quadratic")] == [1, 1, 1]


def test_another_ramp_is_an_error():
    with pytest.raises(InputError, match=r"sparsity\.ramp is 'cubic'; choose one of constant, linear, quadratic"):
        ramp("cubic", 0, 10)


def test_k_falls_by_equal_factors():
    assert [annealed_k(64, 4, step, 4) for step in range(6)] == [64, 32, 16, 8, 4, 4]
    ks = [annealed_k(100, 7, step, 1000) for step in range(1200)]
    assert ks[0] == 100 and set(ks[1000:]) == {7}
    assert all(isinstance(k, int) for k in ks) and set(ks) == set(range(7, 101)) and ks == sorted(ks, reverse=True)
    assert annealed_k(9, 9, 3, 10) == 9 and annealed_k(9, 2, 0, 0) == 2


@pytest.mark.parametrize(("start", "end"), [(4, 8), (4, 0)])
def test_k_that_rises_or_ends_at_nothing_is_an_error(start, end):
    with pytest.raises(InputError, match=r"training\.token_k_start \(4\) must be at least model\.token_k"):
        annealed_k(start, end, 0, 10)


class Plant:
    """A model whose active latents near start * (lambda / first)^-power, some steps late, measured with noise."""

    def __init__(self, start, power, lag, first=1e-4, seed=0):
        self.start, self.power, self.lag, self.first = math.log(start), power, lag, math.log(first)
        self.state = self.start
        self.noise = np.random.default_rng(seed)

    def step(self, lam):
        wanted = self.start - self.power * (math.log(lam) - self.first)
        self.state += (wanted - self.state) / self.lag
        return math.exp(self.state + self.noise.normal(0, 0.15))


@pytest.mark.parametrize("power", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("lag", [1, 30, 100])
@pytest.mark.parametrize("start", [5000, 5])
def test_steered_lambda_reaches_the_target_and_stays(power, lag, start):
    plant, steered = Plant(start, power, lag), TargetSparsity(100, 1e-4)
    active = []
    for _ in range(1500):
        steered.update(plant.step(steered.value))
        active.append(math.exp(plant.state))
    after = np.array(active[900:])
    assert abs(after / 100 - 1).max() < 0.1
    passed = min(active) / 100 if start > 100 else 100 / max(active)
    assert passed > 0.75


def test_lambda_moves_little_at_a_time_and_within_bounds():
    steered = TargetSparsity(10, 1e-3)
    before = steered.value
    for active in [1e5] * 400 + [0.0] * 1200:
        steered.update(active)
        assert abs(math.log(steered.value / before)) <= 0.05 + 1e-12
        assert 1e-9 * 0.999 <= steered.value <= 1e3 * 1.001
        before = steered.value
    assert steered.value == pytest.approx(1e-9)


def test_lambda_rests_at_the_target_and_moves_towards_it():
    steered = TargetSparsity(10, 1e-3)
    steered.update(10)
    assert steered.value == pytest.approx(1e-3, rel=1e-12)
    more, fewer = TargetSparsity(10, 1e-3), TargetSparsity(10, 1e-3)
    more.update(20)
    fewer.update(5)
    assert more.value == pytest.approx(1e-3 * 2**0.02) and fewer.value == pytest.approx(1e-3 * 2**-0.02)


def test_a_steered_lambda_goes_on_where_it_was_saved():
    draws = np.random.default_rng(3).uniform(5, 60, size=40).tolist()
    whole, first, second = (TargetSparsity(20, 1e-3) for _ in range(3))
    for active in draws:
        whole.update(active)
    for active in draws[:17]:
        first.update(active)
    second.load_state_dict(first.state_dict())
    for active in draws[17:]:
        second.update(active)
    assert second.value == whole.value


@pytest.mark.parametrize(("target", "start"), [(0, 1e-3), (-1, 1e-3), (40, 0)])
def test_what_cannot_be_steered_is_an_error(target, start):
    with pytest.raises(InputError, match=r"set sparsity\.target_query and target_document, and sparsity\.query"):
        TargetSparsity(target, start)
