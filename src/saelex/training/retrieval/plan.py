"""What a run will be, before any weight is read: the model, what learns, memory, steps. `saelex train --dry-run`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from saelex.errors import InputError
from saelex.files import expanded
from saelex.reading.regular import is_here
from saelex.training.examples.mixing import open_examples
from saelex.training.lora import adapted_layers, block_of
from saelex.training.retrieval.batch import PADDED_TOKENS
from saelex.training.retrieval.recipe import RetrievalRecipe
from saelex.training.retrieval.run import n_steps
from saelex.training.retrieval.settings import StepRecipe
from saelex.training.retrieval.shapes import ModelShape, model_shape
from saelex.training.retrieval.validation import validate

_SAVED = 1.25
"""Numbers that a block keeps for its backward pass, as a multiple of its linear layers' inputs and outputs: those, and
what norms, rotations and gates keep. Measured on Llama, Gemma, Qwen3 and BERT: 1.0 to 1.5."""
_MATRICES = 2  # of attention weights, kept for each head where attention is not fused
_FLOAT = 4  # bytes of a float32


@dataclass(frozen=True)
class Memory:
    """Estimated bytes on each GPU at the worst moment of a step; see `memory_of`."""

    weights: float
    gradients: float
    optimiser: float
    activations: float
    vectors: float

    @property
    def total(self) -> float:
        """All of it; what CUDA and its allocator take comes on top, some 10%."""
        return self.weights + self.gradients + self.optimiser + self.activations + self.vectors

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {_giga(size)}" for name, size in vars(self).items())
        return f"{_giga(self.total)} GB: {parts}"


@dataclass(frozen=True)
class Learning:
    """How many parameters learn, and how many bytes they have."""

    backbone: int
    head: int
    decoder: int
    size: float

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.backbone + self.head + self.decoder


@dataclass(frozen=True)
class Plan:
    """What `plan` finds; `str` of it is the text of `saelex train --dry-run`.

    parameters: of cut backbone, head and decoder. passages: per step, at most. part_queries: queries of one forward
    pass of one process. steps: None where the sources do not tell their size; `missing` then says why.
    """

    recipe: RetrievalRecipe
    shape: ModelShape
    parameters: int
    learning: Learning
    memory: Memory
    gpus: int
    queries: int
    passages: int
    part_queries: int
    size: int | None
    steps: int | None
    missing: str = ""

    def __str__(self) -> str:
        rows = {
            "model": self._model(),
            "head": self._head(),
            **({"weighting": self._weighting()} if self.recipe.weighting.texts.corpora else {}),
            "parameters": f"{_count(self.parameters)}, of which {_count(self.learning.parameters)} learn{self._how()}",
            "memory": f"about {self.memory}; on each GPU, {self.gpus} in all, with texts at full length",
            "step": self._step(),
            "steps": self._steps(),
            "learning rate": schedule_of(self.recipe.training, self.steps),
            "loss": self._loss(),
            "sparsity": self._sparsity(),
        }
        width = max(map(len, rows)) + 2
        return "\n".join(f"{name:<{width}}{text}" for name, text in rows.items())

    def _model(self) -> str:
        shape = self.shape
        dtype = str(shape.dtype).removeprefix("torch.")
        seen = "bidirectional" if shape.bidirectional else "causal"
        return f"{shape.name}, blocks 0 to {shape.layer} of {shape.blocks}, {seen} attention, {dtype}"

    def _head(self) -> str:
        head, model = self.shape.head, self.recipe.model
        gate = head.gate if model.token_k is None else f"{head.gate} with k {model.token_k}"
        before = " after the masked-LM transform" if model.transform else ""
        pooling = "" if model.encoder else f", {model.pooling} pooling, {model.saturation}"
        learns = "learns" if self.learning.head > 1 else "frozen"
        return f"{head.name}: {head.d_model:,} -> {head.n_latents:,} latents{before}, {gate} gate{pooling}, {learns}"

    def _weighting(self) -> str:
        weighting = self.recipe.weighting
        of = f"{len(weighting.texts.corpora)} corpora"
        if weighting.texts.max_texts is not None:
            of = f"{weighting.texts.max_texts:,} texts of {of}"
        frequent = weighting.settings.max_df
        dropped = f"; in more than {frequent:.0%} of them: dropped" if frequent < 1 else ""
        return f"BM25 over latents, counted on {of}{dropped}"

    def _how(self) -> str:
        tune = self.recipe.tune
        if tune.backbone != "lora":
            return f" (backbone {tune.backbone})"
        chosen = len(adapted_layers(self.shape.skeleton, tune.lora))
        return f" (LoRA of rank {tune.lora.rank} on {chosen} linear layers)"

    def _step(self) -> str:
        parts = self.recipe.training.accumulation_steps
        in_parts = "" if parts == 1 else f", in {parts} parts of {self.part_queries} queries on each GPU"
        return f"{self.queries:,} queries with {self.passages:,} passages{in_parts}"

    def _steps(self) -> str:
        if self.steps is None:
            return f"unknown: {self.missing}"
        if self.size is None:
            return f"{self.steps:,} (training.max_steps), {self.steps * self.queries:,} queries"
        passes = self.steps * self.queries / self.size
        return f"{self.steps:,}, {passes:.3g} passes over {self.size:,} queries"

    def _loss(self) -> str:
        loss = self.recipe.loss
        words = f", scores plus {loss.word_scale:g} BM25" if loss.word_scale else ""
        return " + ".join(f"{term.weight:g} {term}" for term in loss.terms) + words

    def _sparsity(self) -> str:
        sparsity = self.recipe.sparsity
        sides = []
        for side in ("query", "document"):
            target = getattr(sparsity, f"target_{side}")
            aim = "" if target is None else f", steered to {target:g} latents"
            sides.append(f"{getattr(sparsity, side):g} ({side}{aim})")
        grows = "" if sparsity.ramp == "constant" else f", {sparsity.ramp} over {sparsity.ramp_steps:,} steps"
        return f"{sparsity.regulariser}, lambda {' and '.join(sides)}{grows}"


def plan(recipe: RetrievalRecipe, *, gpus: int = 1) -> Plan:
    """What training by this recipe on so many GPUs will be.

    Sources are read for their size only where training.max_steps is not given; one that is not there leaves the number
    of steps unknown. Raises InputError for a recipe that contradicts itself and for a model that is not known.
    """
    if gpus < 1:
        raise InputError(f"a run needs at least one GPU or processor, not {gpus}")
    validate(recipe, processes=gpus)
    shape, step = model_shape(recipe.model), recipe.training
    size, missing = (None, "") if step.max_steps is not None else _size(recipe)
    learning = learning_of(shape, recipe)
    return Plan(
        recipe,
        shape,
        parameters=shape.parameters + shape.head.parameters + learning.decoder,
        learning=learning,
        memory=memory_of(recipe, shape, learning, gpus),
        gpus=gpus,
        queries=step.batch_queries,
        passages=step.batch_queries * (1 + recipe.data.negatives),
        part_queries=step.batch_queries // (gpus * step.accumulation_steps),
        size=size,
        steps=None if missing else n_steps(step, size),
        missing=missing,
    )


def learning_of(shape: ModelShape, recipe: RetrievalRecipe) -> Learning:
    """Adapters, which are float32, or the backbone's weights; the head's weight, bias, transform; alpha; decoder."""
    tune, backbone, size = recipe.tune, 0, 0.0
    if tune.backbone == "lora":
        layers = adapted_layers(shape.skeleton, tune.lora).values()
        backbone = sum(tune.lora.rank * (layer.in_features + layer.out_features) for layer in layers)
        size = _FLOAT * backbone
    elif tune.backbone == "full":
        backbone = shape.parameters
        size = shape.dtype.itemsize * backbone
    head = shape.head
    weight = head.n_latents * head.d_model  # a tied one learns with a full backbone, and is copied beside another
    own = head.parameters + (weight if head.tied and tune.backbone != "full" else 0) if tune.head else 0
    halves = own - head.n_latents  # all but the bias, which is float32
    in_head = own + tune.alpha
    decoder = head.decoder if recipe.loss.needs_decoder else 0
    size += (head.dtype.itemsize * halves + _FLOAT * head.n_latents if own else 0) + _FLOAT * decoder
    return Learning(backbone, in_head, decoder, size)


def memory_of(recipe: RetrievalRecipe, shape: ModelShape, learning: Learning, gpus: int) -> Memory:
    """Bytes on each GPU, texts at their full length, none shared between sources.

    weights: backbone and head in their dtypes, adapters and a decoder in float32, and bfloat16 copies of what learns in
        float32 under autocast. gradients: one number for each that learns, twice under DDP, which keeps them in buckets
        too.
    optimiser: AdamW's two numbers for each. FSDP gives each GPU its share of these three.
    activations: of one part of a batch (batch_queries / gpus / accumulation_steps queries with their passages), at two
        bytes a number in half precision: 1.25 times the inputs and outputs of all linear layers, and attention matrices
        where attention is not fused (Gemma 2); with gradient checkpointing a hidden state for each block, and all
        numbers of one block for the tokens that are padded together. A frozen backbone keeps none, nor do blocks below
        tune.lora.first_block.
    vectors: float32 [texts, latents] with their gradient, of all parts; of one part once more, and its tokens' numbers;
        the passages of all processes with gradients, for a loss that reads them.
    """
    step, settings, head = recipe.training, recipe.settings, shape.head
    shared = gpus if step.fsdp else 1
    decoder = _FLOAT * learning.decoder
    others = learning.size - decoder
    copies = others / 2 if step.bf16 and recipe.tune.backbone == "full" and shape.dtype.itemsize == 4 else 0
    adapters = others if recipe.tune.backbone == "lora" else 0
    of_head = head.parameters * head.dtype.itemsize
    weights = (shape.parameters * shape.dtype.itemsize + of_head + decoder + adapters + copies) / shared

    queries = step.batch_queries // gpus
    part = queries // step.accumulation_steps
    per_query = 1 + recipe.data.negatives
    longest = _longest(shape)
    lengths = (
        step.max_query_length or settings.max_query_length or longest,
        step.max_document_length or settings.max_document_length or longest,
    )
    activations = sum(
        _activations(shape, recipe, texts, length) for texts, length in zip((part, part * per_query), lengths)
    )
    all_texts, part_texts = queries * (1 + per_query), part * (1 + per_query)
    gathered = queries * per_query * (gpus - 1) if any(term.gathers_passages for term in recipe.loss.terms) else 0
    vectors = _FLOAT * head.n_latents * (2 * all_texts + 2 * part_texts + 2 * gathered)
    buckets = 2 if gpus > 1 and not step.fsdp else 1
    return Memory(weights, buckets * learning.size / shared, 2 * learning.size / shared, activations, vectors)


def schedule_of(step: StepRecipe, steps: int | None) -> str:
    """The learning rate's course in words; steps: in all, None where that is unknown."""
    warmup = step.warmup_steps
    if warmup is None and steps is not None:
        warmup = math.ceil(step.warmup_share * steps)
    rises = f"{step.warmup_share:.3g} of the steps" if warmup is None else f"{warmup:,} steps"
    ends = "the last step" if steps is None else f"step {steps:,}"
    after = {"linear": f"then falls evenly to 0 at {ends}", "cosine": f"then falls as a cosine to 0 at {ends}"}
    rate = f"{step.learning_rate:g}"
    if step.head_learning_rate is not None:
        rate += f" (head {step.head_learning_rate:g})"
    return f"rises to {rate} in {rises}, {after.get(step.schedule, 'then stays')}"


def _activations(shape: ModelShape, recipe: RetrievalRecipe, texts: int, length: int) -> float:
    """Bytes that the backbone keeps of some texts of one length until the backward pass."""
    if recipe.tune.backbone == "frozen":
        return 0.0
    first = recipe.tune.lora.first_block if recipe.tune.backbone == "lora" else 0
    linear = [layer for name, layer in shape.linear().items() if block_of(name) >= first]
    blocks = shape.layer + 1 - first
    numbers = _SAVED * sum(layer.in_features + layer.out_features for layer in linear)
    if shape.eager:
        numbers += _MATRICES * blocks * shape.heads * length
    tokens = texts * length
    kept = tokens * numbers
    if recipe.training.gradient_checkpointing:
        kept = tokens * blocks * shape.d_model + min(tokens, PADDED_TOKENS) * numbers / blocks
    half = recipe.training.bf16 or shape.dtype.itemsize == 2
    return kept * (2 if half else _FLOAT)


def _longest(shape: ModelShape) -> int:
    """Most tokens that the backbone takes, as its configuration says; our own BERT keeps a row for each."""
    config: Any = getattr(shape.skeleton, "config", None)
    if config is not None:
        return int(config.max_position_embeddings)
    return len(shape.skeleton.get_parameter("embeddings.position_embeddings.weight"))


def _size(recipe: RetrievalRecipe) -> tuple[int | None, str]:
    """Queries of all sources, or why they cannot be counted."""
    if gone := [source.path for source in recipe.data.sources if not is_here(expanded(source.path))]:
        return None, f"{gone[0]} is not on this machine yet"
    scored = recipe.loss.needs_scores
    size = open_examples(recipe.data, seed=recipe.training.seed, needs_scores=scored).size
    return size, "" if size is not None else "a source is streamed, so set training.max_steps"


def _giga(size: float) -> str:
    return f"{size / 1e9:.1f}" if size >= 5e7 else f"{size / 1e9:.2g}"


def _count(number: int) -> str:
    """A number of parameters as people read it."""
    for unit, name in ((10**9, " billion"), (10**6, " million")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:,}"
