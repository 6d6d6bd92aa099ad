"""One retrieval training, from a recipe to a model folder that tells how it was made."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from saelex import __version__
from saelex.encoder.backbone.low_rank import LowRankUpdate
from saelex.encoder.dense.embedder import load_embedder
from saelex.encoder.encoder import Encoder
from saelex.encoder.files.folder import check_target
from saelex.encoder.identity import BackboneIdentity
from saelex.encoder.tokens import TextTokenizer, rust_tokenizer
from saelex.errors import InputError
from saelex.files import check_own, expanded, write_text
from saelex.sae.catalogue import neuronpedia_of
from saelex.training.checkpoints import last_checkpoint
from saelex.training.examples.example import Example
from saelex.training.examples.mixing import MixedExamples, open_examples
from saelex.training.latent_statistics import weigh_latents
from saelex.training.retrieval import ranks
from saelex.training.retrieval.batch import Collator
from saelex.training.retrieval.decoder import starting_decoder
from saelex.training.retrieval.dense_teachers import DenseTeacher, open_teachers
from saelex.training.retrieval.model import RetrievalModel
from saelex.training.retrieval.objective import Objective
from saelex.training.retrieval.recipe import RetrievalRecipe
from saelex.training.retrieval.settings import StepRecipe
from saelex.training.retrieval.start import prepare, start_sparse, starting_encoder
from saelex.training.retrieval.validation import validate
from saelex.training.retrieval.words import WordScores
from saelex.training.step_bar import StepBar

if TYPE_CHECKING:
    from peft import PeftModel

Evaluate = Callable[[Encoder], dict[str, float]]

_WORD_PASSAGES = 5000  # that the statistics of words are counted over
_START_PASSAGES = 64  # that model.start_active is measured on
_RECIPE, _LOG = "recipe.yaml", "training_log.jsonl"


def train_retrieval(
    recipe: RetrievalRecipe,
    output: Path,
    *,
    evaluate: Evaluate | None = None,
    weight_dtype: torch.dtype | None = None,
    resume: bool = True,
    progress: bool = False,
) -> Encoder:
    """Train by a recipe and save the encoder, with recipe, log and facts in its folder `training`.

    output: the model folder. Checkpoints lie in `<output>.run` beside it until the run is through; an unfinished run
        goes on from the last one, exactly.
    evaluate: measures an encoder, every `progress.every` steps. weight_dtype: of the head's weight and of
        LoRA's update on disk; None keeps theirs.

    Raises InputError for a recipe that contradicts itself, for a folder that holds something else, for an unfinished
    run of another recipe, and when a guard stops the run.
    """
    import transformers

    validate(recipe, processes=int(os.environ.get("WORLD_SIZE", "1")))
    output = expanded(output)
    check_target(output)
    folder = output.with_name(f"{output.name}.run")
    checkpoint = _begin(folder, recipe, resume)
    scored = recipe.loss.needs_scores
    examples = open_examples(recipe.data, seed=recipe.training.seed, needs_scores=scored, progress=progress)
    steps = n_steps(recipe.training, examples.size)
    arguments = _arguments(recipe, folder, steps)

    teachers = _teachers(recipe, arguments.device, examples, steps, folder, progress)
    transformers.set_seed(recipe.training.seed)
    encoder = _start(recipe, examples, arguments.device, progress)
    training = recipe.training
    adapted = prepare(encoder, recipe.tune, seed=training.seed, gradient_checkpointing=training.gradient_checkpointing)
    trainer = _trainer(encoder, recipe, arguments, examples, teachers, folder, evaluate)
    trainer.add_callback(StepBar("training", progress))
    trainer.train(resume_from_checkpoint=checkpoint)
    _finish(encoder, adapted, recipe, weight_dtype)
    if ranks.rank() == 0:
        measured = {} if evaluate is None else evaluate(encoder)
        extra = {
            f"training/{_RECIPE}": _as_yaml(recipe),
            f"training/{_LOG}": (folder / _LOG).read_text() if (folder / _LOG).exists() else "",
            "training/facts.json": json.dumps(_facts(recipe, examples, steps, measured), indent=2) + "\n",
        }
        encoder.save_pretrained(output, weight_dtype=weight_dtype, extra_files=extra)
        shutil.rmtree(folder)
    return encoder


def n_steps(settings: StepRecipe, size: int | None) -> int:
    """Optimiser steps of a run over `size` queries. Raises InputError where neither size nor max_steps is known."""
    if settings.max_steps is not None:
        return settings.max_steps
    if size is None:
        raise InputError("a streamed source has no size, so epochs mean nothing; set training.max_steps")
    return max(1, math.ceil(settings.epochs * size / settings.batch_queries))


def _start(recipe: RetrievalRecipe, examples: MixedExamples, device: torch.device, progress: bool) -> Encoder:
    """The untrained encoder, its bias shifted and its latents weighed where the recipe asks for it."""
    encoder = starting_encoder(recipe.model, recipe.settings, device)
    if recipe.model.start_active is not None:
        start_sparse(encoder, _first_passages(examples, _START_PASSAGES), recipe.model.start_active)
    weighting = recipe.weighting
    if weighting.texts.corpora:
        weigh_latents(encoder, weighting.texts, weighting.settings, progress=progress)
    return encoder


def _teachers(
    recipe: RetrievalRecipe, device: torch.device, examples: MixedExamples, steps: int, folder: Path, progress: bool
) -> list[DenseTeacher]:
    """The dense teachers, with the embeddings of all texts that this process will meet."""
    size = recipe.training.batch_queries
    first, stop = ranks.share_of(size)

    def met() -> Iterator[Example]:
        numbered = enumerate(islice(examples.stream(), steps * size))
        return (example for item, example in numbered if first <= item % size < stop)

    kept = folder / "embeddings" if recipe.data.embeddings is None else expanded(recipe.data.embeddings)
    load = partial(load_embedder, device=device)
    return open_teachers(recipe.data.teachers, kept, met, lambda one: load(one.model), progress=progress)


def _begin(folder: Path, recipe: RetrievalRecipe, resume: bool) -> str | None:
    """The run's folder, made or continued; the checkpoint to go on from."""
    first = os.environ.get("RANK", "0") == "0"
    check_own(folder, _RECIPE)
    if folder.exists() and not resume and first:
        shutil.rmtree(folder)
    if (folder / _RECIPE).exists() and resume:
        if (folder / _RECIPE).read_text() != _as_yaml(recipe):
            raise InputError(
                f"{folder} holds an unfinished run of another recipe; finish that, or start over with --no-resume"
            )
        found = last_checkpoint(folder)
        return None if found is None else str(found)
    if first:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / _RECIPE, [_as_yaml(recipe)])
    return None


def _arguments(recipe: RetrievalRecipe, folder: Path, steps: int) -> Any:
    from transformers import TrainingArguments

    settings, device = recipe.training, recipe.model.device
    warmup = settings.warmup_steps
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=max(1, settings.batch_queries // int(os.environ.get("WORLD_SIZE", "1"))),
        max_steps=steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule if settings.schedule != "constant" else "constant_with_warmup",
        warmup_steps=math.ceil(settings.warmup_share * steps) if warmup is None else warmup,
        max_grad_norm=settings.clip_norm,
        bf16=settings.bf16,
        logging_steps=settings.log_every,
        logging_first_step=True,
        save_steps=settings.save_every,
        save_total_limit=2,
        report_to=settings.log_to or "none",
        seed=settings.seed,
        remove_unused_columns=False,
        ignore_data_skip=True,  # the stream starts where the run stands
        use_cpu=device is not None and torch.device(device).type == "cpu",
        disable_tqdm=True,
        fsdp=settings.fsdp or None,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # several GPUs by DDP, never by DataParallel
    return arguments


def _trainer(
    encoder: Encoder,
    recipe: RetrievalRecipe,
    arguments: Any,
    examples: MixedExamples,
    teachers: list[DenseTeacher],
    folder: Path,
    evaluate: Evaluate | None,
) -> Any:
    from transformers import PrinterCallback

    from saelex.training.retrieval.trainer import LogFile, Progress, RetrievalTrainer

    words = None
    if recipe.loss.word_scale:
        passages = _first_passages(examples, _WORD_PASSAGES)
        words = WordScores(passages, recipe.loss.word_scale, recipe.loss.word_language)
    collator = Collator(
        _training_tokenizer(encoder, recipe.training),
        encoder.backbone.pad_id,
        n_chunks=recipe.training.accumulation_steps,
        needs_scores=recipe.loss.needs_scores,
        words=words,
        teachers=teachers,
    )
    objective = Objective(recipe.loss, recipe.sparsity, encoder.n_latents)
    log = LogFile(folder / _LOG)
    decoder = starting_decoder(recipe.model, encoder.head) if recipe.loss.needs_decoder else None
    model = RetrievalModel(encoder, decoder)
    trainer = RetrievalTrainer(model, arguments, recipe, examples, collator, objective, [log])
    if evaluate is not None and recipe.progress.every:
        trainer.add_callback(Progress(trainer, encoder, evaluate, recipe.progress.every))
    trainer.remove_callback(PrinterCallback)
    return trainer


def _first_passages(examples: MixedExamples, n: int) -> list[str]:
    return list(islice((text for example in examples.stream() for text in example.passages), n))


def _training_tokenizer(encoder: Encoder, training: StepRecipe) -> TextTokenizer:
    """The encoder's tokenizer under the lengths of training, which may be shorter (SPLARE: 128, at inference 1,024)."""
    limits = {
        name: value
        for name in ("max_query_length", "max_document_length")
        if (value := getattr(training, name)) is not None
    }
    settings = replace(encoder.settings, **limits)
    backbone = encoder.backbone
    return TextTokenizer(rust_tokenizer(backbone), settings, backbone.max_length, n_words=backbone.n_words)


def _finish(
    encoder: Encoder, adapted: PeftModel | None, recipe: RetrievalRecipe, weight_dtype: torch.dtype | None
) -> None:
    """Adapters merged, nothing learning any more, and what the model card tells; in place."""
    backbone = encoder.backbone
    if adapted is not None:
        update = LowRankUpdate.from_peft(adapted, weight_dtype or torch.float32)
        adapted.unload()
        update.merge_into(backbone.model)
        backbone.update = update if backbone.update is None else backbone.update + update
        # what it is follows from base and update from now on, not from the bits of their sum
        encoder.backbone_identity = BackboneIdentity(backbone, None)
    for module in (backbone, encoder.head):
        module.eval().requires_grad_(False)
    names = ", ".join(Path(source.path).name for source in recipe.data.sources)
    encoder.description |= {
        "sae": _sae_name(recipe.model.sae) if recipe.model.sae else encoder.description.get("sae"),
        # what is published is of the latents before they were trained
        "neuronpedia": None if recipe.tune.head else neuronpedia_of(encoder.description),
        "training_data": recipe.training_data or names,
        "weights_of_latents": "trained for retrieval; training/recipe.yaml has every setting",
        "licence": recipe.licence,
    }


def _sae_name(sae: str) -> str:
    """What the card calls an SAE: a folder by its own name, one of the catalogue or the hub as it is named."""
    return Path(sae).name if expanded(sae).exists() else sae


def _facts(recipe: RetrievalRecipe, examples: MixedExamples, steps: int, measured: dict[str, float]) -> dict[str, Any]:
    import transformers

    return {
        "versions": {"saelex": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
        "processes": ranks.world_size(),
        "steps": steps,
        "queries": steps * recipe.training.batch_queries,
        "data": examples.facts(),
        "measured": measured,
    }


def _as_yaml(recipe: RetrievalRecipe) -> str:
    text: str = yaml.safe_dump(asdict(recipe), sort_keys=False, allow_unicode=True)
    return text
