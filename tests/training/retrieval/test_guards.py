import json
from dataclasses import replace

import pytest
import torch
from tests.training.retrieval.test_activity import rows_of

from saelex.errors import InputError
from saelex.training.retrieval.activity import Activity, measure
from saelex.training.retrieval.guards import Guards
from saelex.training.retrieval.recipe import LossRecipe, RetrievalRecipe, SparsityRecipe

RECIPE = RetrievalRecipe(sparsity=SparsityRecipe(query=2e-4, document=3e-4, ramp="quadratic", ramp_steps=40))


HEALTHY_QUERY = measure(rows_of(32, 4000, 20))
HEALTHY = measure(rows_of(288, 4000, 200))


def steps(guards, n, query=HEALTHY_QUERY, document=HEALTHY, start=0):
    for step in range(start, start + n):
        guards.check(step, 1.0, query, document)


def stops_at(query=HEALTHY_QUERY, document=HEALTHY, recipe=RECIPE):
    """The step, from 1, that such activity stops a run at, and what it says."""
    guards = Guards(recipe)
    for step in range(1000):
        try:
            guards.check(step, 1.0, query, document)
        except InputError as error:
            assert "\n" not in str(error) and str(error).startswith(f"step {step + 1}: ")
            return step + 1, str(error)
    return None, ""


def test_healthy_activity_never_stops_a_run():
    assert stops_at() == (None, "")
    skewed = torch.rand(288, 4000, generator=torch.Generator().manual_seed(1)) < 3 / torch.arange(1, 4001)
    assert stops_at(document=measure(skewed.float())) == (None, "")
    tiny = measure(rows_of(64, 48, 12))  # a toy's: texts share a quarter of all latents by chance
    assert stops_at(tiny, tiny) == (None, "")


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_at_once(loss):
    with pytest.raises(InputError, match=rf"step 8: the loss is {loss}; lower training\.learning_rate \(now 5e-05\)"):
        Guards(RECIPE).check(7, loss, HEALTHY_QUERY, HEALTHY)


def test_the_temperature_named_is_that_of_the_loss_in_use():
    messages = []
    for loss in (LossRecipe(temperature=80), LossRecipe(kl=0, info_nce=1, info_nce_temperature=0.5)):
        with pytest.raises(InputError) as error:
            Guards(replace(RECIPE, loss=loss)).check(0, float("nan"), HEALTHY_QUERY, HEALTHY)
        messages.append(str(error.value))
    assert messages[0].endswith("raise loss.temperature (now 80)")
    assert messages[1].endswith("raise loss.info_nce_temperature (now 0.5)")


def test_empty_texts_stop_a_run():
    weights = rows_of(32, 4000, 20)
    weights[:20] = 0
    step, message = stops_at(query=measure(weights))
    assert step == 20
    assert "62% of the queries have no active latent" in message
    assert "lower sparsity.query (now 0.0002), raise sparsity.ramp_steps (now 40)" in message
    step, message = stops_at(document=measure(torch.zeros(288, 4000)))
    assert step == 20 and "100% of the documents" in message and "lower sparsity.document (now 0.0003)" in message
    weights = rows_of(32, 4000, 20)
    weights[:15] = 0
    assert stops_at(query=measure(weights)) == (None, "")


def test_too_many_active_latents_stop_a_run_once_the_ramp_is_over():
    step, message = stops_at(document=measure(rows_of(288, 4000, 2300)))
    assert step == 40 + 300
    assert "2300 of 4000 latents are active in the average document" in message
    assert message.endswith("raise sparsity.document (now 0.0003)")
    large = Activity(288, 131_072, 12_000, 0, 131_000, 90_000, 0.9)
    assert stops_at(document=large)[0] == 340
    assert stops_at(document=large._replace(active=6000)) == (None, "")
    dense = measure(rows_of(32, 4000, 2300))
    steered = replace(RECIPE, sparsity=replace(RECIPE.sparsity, target_query=30))
    assert stops_at(query=dense, recipe=steered)[1].endswith(
        "lower sparsity.target_query (now 30) or raise sparsity.query (now 0.0002)"
    )


def test_a_dense_run_that_gets_sparser_goes_on_until_it_does_no_longer():
    guards, dense = Guards(RECIPE), Activity(288, 131_072, 100_000, 0, 131_000, 110_000, 1)
    for step in range(40, 1240):  # from 100,000 active latents to 22,000, a fifth fewer in 179 steps
        guards.check(step, 1.0, HEALTHY_QUERY, dense._replace(active=100_000 * 0.8 ** ((step - 40) / 179)))
        saved = json.loads(json.dumps(guards.state_dict()))
    guards = Guards(RECIPE)
    guards.load_state_dict(saved)
    steps(guards, 299, document=dense._replace(active=20_000), start=1240)
    with pytest.raises(InputError, match="step 1540: 20000 of 131072 latents are active in the average document"):
        guards.check(1539, 1.0, HEALTHY_QUERY, dense._replace(active=20_000))


def test_who_wants_no_sparsity_may_have_none():
    free = replace(RECIPE, sparsity=replace(RECIPE.sparsity, document=0.0))
    assert stops_at(document=measure(rows_of(288, 4000, 2300)), recipe=free) == (None, "")


def test_texts_that_are_nearly_alike_stop_a_run():
    step, message = stops_at(document=measure(rows_of(288, 4000, 200, pool=240)))
    assert step == 100
    assert "288 documents use 240 latents between them, 200 each, so that they are nearly alike" in message
    assert "raise loss.temperature (now 1)" in message and "lower sparsity.document (now 0.0003)" in message
    assert stops_at(document=measure(rows_of(288, 4000, 200, pool=400))) == (None, "")
    few_rows = measure(rows_of(8, 4000, 200, pool=240))  # perhaps texts of one topic
    assert stops_at(document=few_rows) == (None, "")


def test_odd_batches_do_not_stop_a_run():
    guards = Guards(RECIPE)
    empty = measure(torch.zeros(32, 4000))
    alike = measure(rows_of(288, 4000, 200, pool=240))
    dense = measure(rows_of(288, 4000, 2300))
    for _ in range(3):
        steps(guards, 19, query=empty, start=1000)
        steps(guards, 99, document=alike, start=1000)
        steps(guards, 299, document=dense, start=1000)
    steps(guards, 1)


def test_counts_go_on_where_they_were_saved():
    first, second = Guards(RECIPE), Guards(RECIPE)
    empty = measure(torch.zeros(32, 4000))
    steps(first, 15, query=empty)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    steps(second, 4, query=empty, start=15)
    with pytest.raises(InputError, match="step 20: 100% of the queries"):
        second.check(19, 1.0, empty, HEALTHY)
