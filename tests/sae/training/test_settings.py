import pytest
from tests.sae.training.synthetic import settings

from saelex.errors import InputError
from saelex.sae.training.schedule import learning_rate, sparsity


def test_learning_rate_rises_stays_and_falls():
    config = settings(tokens=64 * 100, warmup_steps=10, decay_share=0.2)
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert rates[9:81] == pytest.approx([1.0] * 72)
    assert rates[90] == pytest.approx(0.5) and rates[99] == pytest.approx(0.05)


def test_learning_rate_falls_along_a_cosine_or_not_at_all():
    config = settings(tokens=64 * 100, warmup_steps=10, decay_share=0.4, schedule="cosine")
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[9:61] == pytest.approx([1.0] * 52)
    # a quarter, half and three quarters of the way down: (1 + cos(pi t)) / 2
    assert [rates[70], rates[80], rates[90]] == pytest.approx([0.853553, 0.5, 0.146447], abs=1e-6)
    config = settings(tokens=64 * 100, warmup_steps=10, decay_share=0.4, schedule="constant")
    assert [learning_rate(config, step) for step in (4, 9, 99)] == pytest.approx([0.5, 1.0, 1.0])


def test_sparsity_rises_to_its_weight():
    config = settings(gate="relu", sparsity=0.3, sparsity_warmup_steps=10)
    assert [sparsity(config, step) for step in (0, 4, 9, 200)] == pytest.approx([0.03, 0.15, 0.3, 0.3])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 128}, "k=128 must be smaller than n_latents=128"),
        ({"tokens": 10}, "less than one batch"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"n_latents": 0}, "n_latents is a positive whole number"),
        ({"accumulate": 5}, "batch_tokens=64 does not split into accumulate=5"),
        ({"accumulate": 0}, "accumulate is a positive whole number"),
        ({"tokens": 1000.5}, "tokens is a positive whole number, not 1000.5"),
        ({"gate": "jumprelu", "bandwidth": 0.0}, "bandwidth"),
        ({"gate": "relu", "sparsity": -1.0}, "sparsity"),
        ({"gate": "relu", "widths": [64, 128]}, "widths are for the gates topk and batch_topk, not for relu"),
        ({"gate": "hierarchical_topk", "widths": [64, 128]}, "not for hierarchical_topk"),
        ({"widths": [64, 32, 128]}, "widths rise and end at n_latents=128"),
        ({"widths": [64, 127]}, "widths rise and end at n_latents=128"),
    ],
)
def test_impossible_settings_are_errors_of_one_line(changes, message):
    with pytest.raises(InputError) as error:
        settings(**changes)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_whole_number_may_be_written_as_a_float():
    config = settings(tokens=1.2e4)
    assert (config.tokens, config.steps) == (12_000, 187) and isinstance(config.steps, int)


def test_a_dense_gate_takes_no_notice_of_k():
    assert settings(gate="relu", k=500).k == 500
