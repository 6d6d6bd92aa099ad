"""The step of the trainer: the same gradient however the batch is divided, and runs that go on exactly."""

from dataclasses import replace

import pytest
import torch
from tests.encoder.tiny_models import tiny_checkpoint
from tests.training.retrieval.toys import (
    Stream,
    examples,
    learning_encoder,
    one_step,
    one_step_of_rank,
    recipe,
)
from tests.training.retrieval.two_ranks import together

from saelex.training.retrieval.recipe import SparsityRecipe


def assert_equal_gradients(found, expected):
    assert found.keys() == expected.keys()
    largest = max(float(abs(torch.as_tensor(gradient)).max()) for gradient in expected.values())
    assert largest > 1e-3
    for name, gradient in expected.items():
        torch.testing.assert_close(torch.as_tensor(found[name]), torch.as_tensor(gradient), atol=1e-6, rtol=1e-6)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny checkpoint; its tokenizer is trained, and not always the same."""
    return tiny_checkpoint("bert", tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    """The gradient of the batch computed at once, in one process."""
    return one_step(model, tmp_path_factory.mktemp("whole"), recipe())


def plain_gradient(encoder):
    """The same loss in plain PyTorch, text by text."""
    made, queries, passages, groups = examples(), [], [], []
    hidden_of = lambda text, side: encoder.backbone(
        torch.tensor([encoder.tokenizer.tokenize([text], side)[0].ids.tolist()])
    )[0][torch.tensor(encoder.tokenizer.tokenize([text], side)[0].pooled)]
    vector = lambda text, side: torch.log1p(
        torch.relu((hidden_of(text, side) @ encoder.head.weight.t() + encoder.head.bias).amax(0))
    )
    for one in made:
        queries.append(vector(one.query, "query"))
        groups.append((len(passages), len(one.passages)))
        passages += [vector(text, "document") for text in one.passages]
    queries, passages = torch.stack(queries), torch.stack(passages)
    scores = queries @ passages.t()
    kl = margins = 0.0
    n_margins = 0
    for i, (one, (start, n)) in enumerate(zip(made, groups)):
        own, teacher = scores[i, start : start + n], torch.tensor(one.scores, dtype=torch.float64)
        target = teacher.softmax(0)
        kl = kl + (target * (target.log() - (own / 2.0).log_softmax(0))).sum() / len(made)
        margins = margins + (((own[0] - own[1:]) - (teacher[0] - teacher[1:])) ** 2).sum()
        n_margins += n - 1
    contrast = -scores.log_softmax(1)[torch.arange(len(made)), [start for start, _ in groups]].mean()
    flops = 0.01 * (queries.mean(0) ** 2).sum() + 0.02 * (passages.mean(0) ** 2).sum()
    loss = kl + 0.05 * margins / n_margins + 0.5 * contrast + flops
    loss.backward()
    return {
        f"{part}.{name}": parameter.grad
        for part, module in (("backbone", encoder.backbone), ("head", encoder.head))
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def test_gradient_is_that_of_plain_pytorch(model, whole):
    plain = plain_gradient(learning_encoder(model))
    shared = {name: gradient for name, gradient in whole.items() if name in plain}
    assert_equal_gradients(shared, {name: plain[name] for name in shared})
    assert "head.weight" in shared and len(shared) > 20


@pytest.mark.parametrize("parts", [2, 4, 3])
def test_accumulation_gives_the_gradient_of_the_whole_batch(model, whole, parts, tmp_path):
    chosen = recipe(training=replace(recipe().training, accumulation_steps=parts))
    assert_equal_gradients(one_step(model, tmp_path, chosen), whole)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
def test_two_processes_give_the_gradient_of_one(model, whole, parts, tmp_path):
    chosen = recipe(training=replace(recipe().training, accumulation_steps=parts))
    for gradients in together(one_step_of_rank, tmp_path, model, tmp_path, chosen):
        assert_equal_gradients(gradients, whole)


def test_document_frequencies_weigh_the_same_in_parts(model, tmp_path):
    sparsity = SparsityRecipe(kind="df_flops", query=0.01, document=0.02)
    at_once = one_step(model, tmp_path / "a", recipe(sparsity=sparsity))
    in_parts = recipe(sparsity=sparsity, training=replace(recipe().training, accumulation_steps=4))
    assert_equal_gradients(one_step(model, tmp_path / "b", in_parts), at_once)


def test_dropout_falls_alike_in_both_passes(model, tmp_path):
    """A part's gradient belongs to the vectors that the loss has seen; with other masks it would not."""
    chosen = recipe(training=replace(recipe().training, accumulation_steps=8))
    torch.manual_seed(3)
    first = one_step(model, tmp_path / "a", chosen, dropout=0.3)
    torch.manual_seed(3)
    assert_equal_gradients(one_step(model, tmp_path / "b", chosen, dropout=0.3), first)
    calls = []

    def remember(module, arguments, output):
        calls.append([vectors.detach().clone() for vectors in output[:2]])

    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda module, arguments, output: (
            remember(module, arguments, output) if type(module).__name__ == "RetrievalModel" else None
        )
    )
    one_step(model, tmp_path / "c", chosen, dropout=0.3)
    handle.remove()
    for without, with_gradient in zip(calls[:8], calls[8:]):
        for before, after in zip(without, with_gradient):
            torch.testing.assert_close(before, after)
    assert len(calls) == 16 and not torch.equal(calls[0][0], calls[1][0])


def test_every_process_and_step_reads_its_own_examples():
    from saelex.training.retrieval.trainer import _Share

    batches = iter(_Share(Stream(), lambda made: [one.query for one in made], 3, start=lambda: 2))
    queries = [one.query for one in examples()]
    assert next(batches)["batch"] == [queries[6], queries[7], queries[0]]
    assert next(batches)["batch"] == queries[1:4]
