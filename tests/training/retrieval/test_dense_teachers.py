"""Runs that learn from dense embeddings: what is embedded, what is kept, and whose gradients they give."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.encoder.tiny_models import tiny_checkpoint
from tests.training.retrieval import toys
from tests.training.retrieval.test_run import StopAfter, StopError, stopping, toy_recipe
from tests.training.retrieval.two_ranks import together

from saelex.training.examples.settings import EmbeddingTeacher, ExampleData, Source
from saelex.training.retrieval import ranks, run
from saelex.training.retrieval.dense_teachers import DenseTeacher, open_teachers
from saelex.training.retrieval.embedding_store import EmbeddingStore
from saelex.training.retrieval.model import RetrievalModel
from saelex.training.retrieval.recipe import LossRecipe

LOSS = LossRecipe(kl=0.0, embedding_kl=1.0, embedding_temperature=2.0, embedding_both=True, info_nce=0.5)


class Counting:
    """An embedder by counts of letters, that remembers what it was asked."""

    def __init__(self, name="letters", letters="aehtgw"):
        self.name, self.letters, self.digest = name, letters, (letters + "0" * 64)[:64]
        self.asked = []

    def embed(self, texts, side):
        self.asked += [(side, text) for text in texts]
        counts = [[text.count(letter) + 0.5 for letter in self.letters] for text in texts]
        return np.array(counts, np.float32)


EMBEDDERS = {"letters": Counting(), "vowels": Counting("vowels", "aeiou")}
SETTINGS = [EmbeddingTeacher("letters", temperature=0.05, weight=2.0), EmbeddingTeacher("vowels", temperature=0.2)]


def teachers(folder, made):
    return open_teachers(
        SETTINGS, folder, lambda: iter(made), lambda one: Counting(one.model, EMBEDDERS[one.model].letters)
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_checkpoint("bert", tmp_path_factory.mktemp("checkpoint"))


def unlabelled(made):
    """Every second example says nothing of its passages."""
    return [one if i % 2 else one._replace(labelled=False, scores=None) for i, one in enumerate(made)]


def step_with_teachers(folder, work, chosen):
    """`one_step` on examples half of which are unlabelled, with dense teachers."""
    encoder, made = toys.learning_encoder(folder), unlabelled(toys.examples())
    first, stop = ranks.share_of(8)
    collator = toys.collator_of(encoder, chosen.training.accumulation_steps)
    collator.teachers = teachers(work / "kept", made[first:stop])
    kept = toys.KeepGradients()
    arguments = run._arguments(chosen, work, 1)
    objective = toys.Objective(chosen.loss, chosen.sparsity, encoder.n_latents)
    trainer = toys.RetrievalTrainer(
        RetrievalModel(encoder), arguments, chosen, toys.Stream(made), collator, objective, [kept]
    )
    trainer.train()
    return kept.steps[0]


def cosines(letters, queries, passages):
    rows = [Counting(letters=letters).embed(texts, "query") for texts in (queries, passages)]
    unit = [(one / np.linalg.norm(one, axis=1, keepdims=True)).astype(np.float16).astype(np.float64) for one in rows]
    return torch.from_numpy(unit[0] @ unit[1].T)


def plain_gradient(folder):
    """The same loss in plain PyTorch, over all queries and passages at once."""
    encoder, made = toys.learning_encoder(folder), unlabelled(toys.examples())
    vectors = RetrievalModel(encoder)(toys.collator_of(encoder)(made).chunks[0])
    scores = vectors.queries @ vectors.passages.t()
    queries, passages = [one.query for one in made], [text for one in made for text in one.passages]
    letters, vowels = (cosines(EMBEDDERS[name].letters, queries, passages) for name in ("letters", "vowels"))
    loss = torch.zeros(())
    for dim in (1, 0):
        target = (2 * (letters / 0.05).softmax(dim) + (vowels / 0.2).softmax(dim)) / 3
        divergence = target * (target.log() - (scores / 2).log_softmax(dim))
        loss = loss + divergence.sum(dim).mean() / 2
    starts = np.cumsum([0, *(len(one.passages) for one in made)])[:-1]
    judged = [i for i, one in enumerate(made) if one.labelled]
    loss = loss - 0.5 * scores.log_softmax(1)[judged, starts[judged]].mean()
    loss = loss + 0.01 * (vectors.queries.mean(0) ** 2).sum() + 0.02 * (vectors.passages.mean(0) ** 2).sum()
    loss.backward()
    return encoder.head.weight.grad


@pytest.fixture(scope="module")
def expected(model):
    return plain_gradient(model)


def assert_is(gradients, expected):
    assert float(expected.abs().max()) > 1e-3
    torch.testing.assert_close(torch.as_tensor(gradients["head.weight"]), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_gradient_is_that_of_plain_pytorch_in_parts_too(model, expected, parts, tmp_path):
    chosen = toys.recipe(loss=LOSS, training=replace(toys.recipe().training, accumulation_steps=parts))
    assert_is(step_with_teachers(model, tmp_path, chosen), expected)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
def test_two_processes_give_the_gradient_of_one(model, expected, parts, tmp_path):
    chosen = toys.recipe(loss=LOSS, training=replace(toys.recipe().training, accumulation_steps=parts))
    for gradients in together(toys.one_step_of_rank, tmp_path, model, tmp_path, chosen, step_with_teachers):
        assert_is(gradients, expected)


def test_only_what_is_not_there_is_embedded(tmp_path):
    made, embedder = toys.examples(), Counting()
    opened = lambda some: open_teachers(SETTINGS[:1], tmp_path, lambda: iter(some), lambda one: embedder)
    opened(made[:3])
    texts = {("query", one.query) for one in made[:3]} | {
        ("document", text) for one in made[:3] for text in one.passages
    }
    assert set(embedder.asked) == texts and len(embedder.asked) == len(texts)
    opened(made[:4])
    assert set(embedder.asked[len(texts) :]) == {("query", made[3].query), *(("document", p) for p in made[3].passages)}
    before = len(embedder.asked)
    (teacher,) = opened(made[:4])
    assert len(embedder.asked) == before
    embedded = teacher.embedded([made[0].query], list(made[0].passages))
    np.testing.assert_allclose(
        embedded.queries @ embedded.passages.t(), cosines("aehtgw", [made[0].query], made[0].passages), atol=1e-6
    )
    assert (embedded.temperature, embedded.weight) == (0.05, 2.0)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    tiny_checkpoint("bert", folder / "bert", language_model=True)
    toys.write_jsonl(folder / "train.jsonl", toys.examples())
    return folder


def distilling(toy, **data):
    sources = [Source(path=str(toy / "train.jsonl"), labelled=False)]
    made = ExampleData(sources=sources, negatives=2, teachers=SETTINGS[:1], **data)
    return toy_recipe(toy, data=made, loss=LossRecipe(kl=0.0, embedding_kl=1.0))


def test_a_run_learns_from_unlabelled_texts_alone_and_goes_on_exactly(toy, tmp_path, monkeypatch):
    asked = SimpleNamespace(embedders=[])

    def opening(model, device):
        asked.embedders.append(Counting())
        return asked.embedders[-1]

    monkeypatch.setattr(run, "load_embedder", opening)
    made = distilling(toy, embeddings=str(tmp_path / "kept"))
    whole = run.train_retrieval(made, tmp_path / "whole")
    assert asked.embedders[0].asked and (tmp_path / "kept").is_dir()
    log = (tmp_path / "whole" / "training" / "training_log.jsonl").read_text()
    assert "embedding_kl" in log
    with monkeypatch.context() as patch:
        stopping(patch, StopAfter(4))
        with pytest.raises(StopError):
            run.train_retrieval(made, tmp_path / "model")
    resumed = run.train_retrieval(made, tmp_path / "model")
    assert resumed.fingerprint == whole.fingerprint
    assert not any(embedder.asked for embedder in asked.embedders[1:])
    # without a folder of one's own they go with the run
    run.train_retrieval(distilling(toy), tmp_path / "other")
    assert asked.embedders[-1].asked and not (tmp_path / "other.run").exists()


def test_a_teacher_has_its_own_dimensions(tmp_path):
    store = EmbeddingStore(tmp_path, {"digest": "one"})
    store.add(["wing"], "query", np.ones((1, 3), np.float32))
    store.add(["flow", "heat"], "document", np.ones((2, 3), np.float32))
    embedded = DenseTeacher(SETTINGS[1], store).embedded(["wing"], ["heat", "flow"])
    assert embedded.queries.shape == (1, 3) and embedded.passages.shape == (2, 3)
