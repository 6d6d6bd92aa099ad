"""Whether the settings of a recipe agree with one another; asked before anything is read, loaded or written."""

from __future__ import annotations

from dataclasses import fields

from saelex.encoder.words.languages import check_language
from saelex.errors import InputError
from saelex.recipe import parts_of
from saelex.training.examples.settings import ExampleData, Source
from saelex.training.retrieval.checks import TOPK_GATES, at_least, positive, published_gate, share
from saelex.training.retrieval.losses.loss import Loss, Setup
from saelex.training.retrieval.recipe import LossRecipe, RetrievalRecipe, SparsityRecipe
from saelex.training.retrieval.settings import ModelRecipe, ProgressRecipe, StepRecipe, TuneRecipe, WeightingRecipe

_TRACKERS = ("tensorboard", "wandb")
_OWN_OF_ENCODER = ("encoder", "token_k", "device", "dtype")  # what counts beside model.encoder


def validate(recipe: RetrievalRecipe, *, processes: int = 1) -> None:
    """Raises InputError, one line naming the settings, where they contradict each other or can do nothing.

    processes: of the run; they share a batch. Nothing is read but the catalogue of SAEs, so what only the model's own
    files tell (its layers, a masked-LM head, a local SAE's gate) is checked where they are read.
    """
    _check_model(recipe.model)
    _check_weighting(recipe.weighting)
    _check_tune(recipe.tune, recipe.model)
    _check_losses(recipe, processes)
    _check_data(recipe.data, recipe.loss)
    _check_sparsity(recipe.sparsity, recipe.training)
    _check_step(recipe.training, recipe.tune.head or recipe.loss.needs_decoder, processes)
    _check_token_k(recipe.model, recipe.training)
    _check_progress(recipe.progress)


def _check_model(model: ModelRecipe) -> None:
    if model.encoder:
        changed = [item.name for item in fields(ModelRecipe) if getattr(model, item.name) != item.default]
        if other := [name for name in changed if name not in _OWN_OF_ENCODER]:
            raise InputError(
                f"model.encoder is a whole model, so model.{other[0]} has no say; leave out one of the two"
            )
        return
    if not model.backbone:
        raise InputError("model.backbone names no language model; give a hub id or folder (or set model.encoder)")
    if model.head == "sae" and not model.sae:
        raise InputError(
            "model.head is sae, but model.sae names none; give a folder, hub id or name of `saelex sae list`"
        )
    if model.head != "sae" and (model.sae or model.sae_file):
        raise InputError(f"model.sae belongs to model.head=sae, not to {model.head}; leave out one of the two")
    if model.head == "vocabulary" and model.layer is not None:
        raise InputError(
            "model.layer is for SAE and random heads: a vocabulary head reads the last block; leave it out"
        )
    if model.head == "vocabulary" and model.transform:
        raise InputError("model.transform is part of a vocabulary head already; leave it out")
    if model.head != "random" and model.n_latents != ModelRecipe.n_latents:
        raise InputError(f"model.n_latents is the width of a random head; that of a {model.head} head is its own")
    if model.start_active is not None and (model.head == "sae" or model.token_k is not None):
        raise InputError(
            "model.start_active is for vocabulary and random heads under ReLU: an SAE starts sparse; leave it out"
        )
    at_least(1, model, "model", "n_latents", "token_k", "start_active")
    at_least(0, model, "model", "layer")


def _check_weighting(weighting: WeightingRecipe) -> None:
    if not weighting.texts.corpora and weighting != WeightingRecipe():
        raise InputError("weighting counts its statistics on texts: name some as weighting.texts.corpora")


def _check_tune(tune: TuneRecipe, model: ModelRecipe) -> None:
    if tune.backbone == "frozen" and not tune.head and not tune.alpha:
        raise InputError("nothing is trained: tune.backbone is frozen and neither tune.head nor tune.alpha is set")
    if tune.backbone == "lora":
        at_least(1, tune.lora, "tune.lora", "rank")
        at_least(0, tune.lora, "tune.lora", "first_block")
        positive(tune.lora, "tune.lora", "alpha")
        share(tune.lora, "tune.lora", "dropout")
    share(tune, "tune", "dropout")
    if tune.backbone == "full" and model.dtype in ("bfloat16", "float16"):
        raise InputError(
            f"tune.backbone=full in model.dtype={model.dtype} would round most updates away; "
            "take model.dtype=float32 with training.bf16=true"
        )


def _check_losses(recipe: RetrievalRecipe, processes: int) -> None:
    loss, data = recipe.loss, recipe.data
    at_least(0, loss, "loss", "word_scale")
    check_language(loss.word_language)
    if loss.word_language != LossRecipe.word_language and not loss.word_scale:
        raise InputError("loss.word_language is of words, which loss.word_scale=0 leaves out; raise it, or drop this")
    every = parts_of(loss, Loss)
    for term in every:
        term.check_settings()
    if not any(term.ranks_passages for term in loss.terms):
        names = [term for term in every if term.ranks_passages]
        raise InputError(f"{_named(names)} are all 0; give at least one a weight")
    if loss.needs_scores and data.require_scores is False:
        raise InputError(
            f"{_reading_scores(loss)} need a teacher's scores, which data.require_scores=false does without; "
            "drop it, or train by loss.info_nce alone"
        )
    if data.negatives == 0 and loss.needs_scores:
        raise InputError(f"{_reading_scores(loss)} compare passages: data.negatives must be at least 1")
    setup = Setup(recipe.model, data, recipe.training, loss.word_scale, processes)
    for term in loss.terms:
        term.check(setup)


def _named(losses: list[Loss]) -> str:
    """Their settings, as a sentence has them."""
    *others, last = (f"loss.{loss.name}" for loss in losses)
    return f"{', '.join(others)} and {last}" if others else last


def _reading_scores(loss: LossRecipe) -> str:
    """All losses that do, in use or not, so that nobody exchanges one for another."""
    return _named([term for term in parts_of(loss, Loss) if term.needs_scores])


def _check_data(data: ExampleData, loss: LossRecipe) -> None:
    at_least(0, data, "data", "negatives")
    if not data.sources:
        raise InputError("data.sources is empty; name at least one source of queries with passages")
    labelled = any(source.labelled for source in data.sources)
    if not labelled and (idle := [term for term in loss.terms if term.ranks_passages and not term.needs_embeddings]):
        raise InputError(f"{_named(idle)} learn from labelled queries, and no source has any; set them to 0")
    _check_teachers(data, loss)
    for i, source in enumerate(data.sources):
        _check_source(source, f"data.sources[{i}]", loss)


def _check_teachers(data: ExampleData, loss: LossRecipe) -> None:
    if not loss.needs_embeddings and (data.teachers or data.embeddings):
        name = "teachers" if data.teachers else "embeddings"
        raise InputError(f"data.{name} is for loss.embedding_kl, which has no weight; give it one, or leave this out")
    for i, teacher in enumerate(data.teachers):
        name = f"data.teachers[{i}]"
        if not teacher.model:
            raise InputError(f"{name}.model names no sentence embedder; give a folder or hub id")
        positive(teacher, name, "temperature", "weight")


def _check_source(source: Source, name: str, loss: LossRecipe) -> None:
    if not source.path:
        raise InputError(f"{name}.path names no file, folder or hub id")
    positive(source, name, "weight")
    at_least(1, source, name, "max_queries")
    if not source.labelled and not loss.needs_embeddings:
        raise InputError(f"{name}.labelled=false: of such queries only loss.embedding_kl learns; give it a weight")
    if source.kind == "beir":
        if source.negatives is None and loss.needs_scores and source.labelled:
            raise InputError(
                f"{name}: a BEIR folder has no teacher's scores, which {_reading_scores(loss)} need; name the "
                "Parquet of `saelex score` as its negatives, or train by loss.info_nce alone"
            )
    elif source.negatives is not None:
        raise InputError(f"{name}.negatives is for BEIR folders; {source.kind} has its own negatives, so leave it out")
    if source.query_from != Source.query_from and source.kind != "texts":
        raise InputError(f"{name}.query_from is for texts; {source.kind} has queries of its own, so leave it out")
    if source.subset is not None and source.kind not in ("hub", "bge"):
        raise InputError(f"{name}.subset is for data sets of the hub, not for {source.kind}; leave it out")


def _check_sparsity(sparsity: SparsityRecipe, training: StepRecipe) -> None:
    at_least(0, sparsity, "sparsity", "query", "document", "ramp_steps")
    if (sparsity.ramp == "constant") is not (sparsity.ramp_steps == 0):
        raise InputError(
            f"sparsity.ramp={sparsity.ramp} with ramp_steps={sparsity.ramp_steps}: a linear or quadratic ramp has "
            "steps, a constant one has none; change one of the two"
        )
    if training.max_steps is not None and sparsity.ramp_steps > training.max_steps:
        raise InputError(
            f"sparsity.ramp_steps={sparsity.ramp_steps} is more than training.max_steps={training.max_steps}: lambda "
            "would never reach its value; shorten the ramp or train longer"
        )
    for side in ("query", "document"):
        target, weight = getattr(sparsity, f"target_{side}"), getattr(sparsity, side)
        if target is None:
            continue
        positive(sparsity, "sparsity", f"target_{side}")
        if weight == 0:
            raise InputError(f"sparsity.target_{side} steers sparsity.{side}, which is 0; start it above 0")
        if sparsity.ramp != "constant":
            raise InputError(f"sparsity.target_{side} and sparsity.ramp both decide lambda; leave out one of the two")
    sparsity.regulariser.check()


def _check_step(step: StepRecipe, head_learns: bool, processes: int) -> None:
    at_least(
        1,
        step,
        "training",
        "batch_queries",
        "accumulation_steps",
        "max_steps",
        "token_k_start",
        "max_query_length",
        "max_document_length",
        "log_every",
        "save_every",
    )
    at_least(0, step, "training", "warmup_steps", "weight_decay", "clip_norm", "token_k_steps")
    positive(step, "training", "epochs", "learning_rate", "head_learning_rate", "epsilon")
    share(step, "training", "warmup_share", "beta1", "beta2")
    parts = processes * step.accumulation_steps
    if step.batch_queries % parts:
        shared = f" on {processes} processes" if processes > 1 else ""
        raise InputError(
            f"training.batch_queries={step.batch_queries} does not split into "
            f"accumulation_steps={step.accumulation_steps} equal parts{shared}; make it a multiple of {parts}"
        )
    if step.head_learning_rate is not None and not head_learns:
        raise InputError("training.head_learning_rate is set, but tune.head is false: the head is not trained")
    if step.max_steps is not None and (step.warmup_steps or 0) >= step.max_steps:
        raise InputError(
            f"training.warmup_steps={step.warmup_steps} leaves none of the max_steps={step.max_steps} at the peak; "
            "shorten the warm-up or train longer"
        )
    if unknown := [name for name in step.log_to if name not in _TRACKERS]:
        raise InputError(f"training.log_to takes {' and '.join(_TRACKERS)}, not {unknown[0]!r}")


def _check_token_k(model: ModelRecipe, step: StepRecipe) -> None:
    """TopK alone has a number of latents per token, and alone can anneal it."""
    annealed = step.token_k_start is not None
    if annealed is not (step.token_k_steps > 0):
        raise InputError("training.token_k_start and training.token_k_steps go together: from where, in how many steps")
    if annealed and step.max_steps is not None and step.token_k_steps > step.max_steps:
        raise InputError(
            f"training.token_k_steps={step.token_k_steps} is more than training.max_steps={step.max_steps}: "
            "model.token_k would never be reached"
        )
    if step.token_k_start is not None and model.token_k is not None and step.token_k_start < model.token_k:
        raise InputError(
            f"training.token_k_start={step.token_k_start} is below model.token_k={model.token_k}, but k is annealed "
            "downwards"
        )
    if annealed and model.head in ("vocabulary", "random") and not model.encoder and model.token_k is None:
        raise InputError(f"training.token_k_start needs a TopK gate: set model.token_k for a {model.head} head")
    gate = published_gate(model)
    if (model.token_k is not None or annealed) and gate not in (None, *TOPK_GATES):
        raise InputError(
            f"model.token_k and training.token_k_start are for TopK SAEs; the gate of {model.sae} is {gate}"
        )


def _check_progress(progress: ProgressRecipe) -> None:
    at_least(0, progress, "progress", "every")
    at_least(1, progress, "progress", "queries", "documents")
    if bool(progress.collections) is not (progress.every > 0):
        raise InputError("progress.collections and progress.every go together: what is measured, and how often")
    for folder in progress.collections:
        if folder.endswith(":test"):
            raise InputError(f"progress.collections: {folder} is a test split, on which nothing may be chosen")
