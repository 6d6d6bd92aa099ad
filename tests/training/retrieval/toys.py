"""Small examples, encoders and training runs for the tests of retrieval training."""

import json
import os
from dataclasses import replace

import torch
from tests.encoder.tiny_encoders import random_head
from transformers import TrainerCallback

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.dropout import set_dropout
from saelex.encoder.encoder import Encoder
from saelex.encoder.settings import EncoderSettings
from saelex.sae.activations import ReLU
from saelex.training.examples.example import Example
from saelex.training.examples.settings import ExampleData, Source
from saelex.training.retrieval.batch import Collator
from saelex.training.retrieval.model import RetrievalModel
from saelex.training.retrieval.objective import Objective
from saelex.training.retrieval.recipe import LossRecipe, RetrievalRecipe, SparsityRecipe
from saelex.training.retrieval.run import _arguments
from saelex.training.retrieval.settings import ModelRecipe, StepRecipe
from saelex.training.retrieval.trainer import RetrievalTrainer

TOPICS = ("wing", "flow", "heat", "shock", "plate", "jet", "lift", "drag")


def examples(n=8):
    """Queries about one topic each, with passages of several; the last one has a passage less."""
    made = []
    for i in range(n):
        others = [TOPICS[(i + step) % len(TOPICS)] for step in (1, 2, 3)]
        passages = (f"the {TOPICS[i % 8]} of number {i}", *(f"on {word} and {word} again {i}" for word in others))
        passages = passages[: 3 if i == n - 1 else 4]
        scores = tuple(3.0 - rank + 0.1 * i for rank in range(len(passages)))
        made.append(Example(f"what is {TOPICS[i % 8]} {i}", passages, scores, frozenset(passages[:1])))
    return made


class Stream:
    """Stands for MixedExamples: the same examples over and over."""

    size = 8

    def __init__(self, made=None):
        self.made = made or examples()

    def stream(self, start=0):
        while True:
            yield self.made[start % len(self.made)]
            start += 1

    def facts(self):
        return {}


def write_jsonl(path, made):
    """The examples as a file that a recipe can name."""
    lines = (
        {"query": one.query, "positive": one.passages[0], "negatives": one.passages[1:], "scores": one.scores}
        for one in made
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def recipe(**changes):
    """A recipe of eight queries a step; `changes` to its sections, such as loss=LossRecipe(...)."""
    made = RetrievalRecipe(
        model=ModelRecipe(encoder="unused", device="cpu"),
        data=ExampleData(sources=[Source(path="unused")]),
        loss=LossRecipe(kl=1.0, temperature=2.0, margin_mse=0.05, info_nce=0.5),
        sparsity=SparsityRecipe(query=0.01, document=0.02),
        training=StepRecipe(batch_queries=8, max_steps=1, clip_norm=0.0, learning_rate=0.0, log_every=1),
    )
    return replace(made, **changes)


def learning_encoder(folder, dropout=0.0):
    """The tiny BERT of a folder in float64, all of whose weights learn, under a head of random latents."""
    backbone = Backbone.load(folder, layer=2)
    encoder = Encoder(backbone, random_head(backbone.d_model, ReLU()), EncoderSettings(max_query_length=12))
    encoder.backbone.double().requires_grad_(True)
    encoder.head.double().requires_grad_(True)
    set_dropout(encoder.backbone.model, dropout)
    return encoder


class KeepGradients(TrainerCallback):
    """The gradients of every step, just before the optimiser uses them."""

    def __init__(self):
        self.steps = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        self.steps.append(
            {
                name.removeprefix("module."): one.grad.clone()
                for name, one in model.named_parameters()
                if one.grad is not None
            }
        )


def collator_of(encoder, n_chunks=1):
    """What makes batches of the examples for this encoder."""
    return Collator(
        encoder.tokenizer,
        encoder.backbone.pad_id,
        n_chunks=n_chunks,
        needs_scores=True,
        words=None,
    )


def one_step(folder, run, chosen, dropout=0.0):
    """Gradients of one step by the trainer itself, on this process' share of eight queries."""
    return one_step_of(RetrievalModel, learning_encoder(folder, dropout), run, chosen)


def one_step_of(model, encoder, run, chosen):
    """`one_step` of model(encoder)."""
    kept = KeepGradients()
    collator = collator_of(encoder, chosen.training.accumulation_steps)
    arguments = _arguments(chosen, run, 1)
    objective = Objective(chosen.loss, chosen.sparsity, encoder.n_latents)
    RetrievalTrainer(model(encoder), arguments, chosen, Stream(), collator, objective, [kept]).train()
    return kept.steps[0]


def one_step_of_rank(folder, run, chosen, step=one_step):
    """`one_step` in one of two processes that have met."""
    rank = torch.distributed.get_rank()
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "29511"}
    gradients = step(folder, run / str(rank), chosen)
    return {name: gradient.numpy() for name, gradient in gradients.items()}
