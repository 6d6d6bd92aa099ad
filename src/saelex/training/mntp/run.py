"""The whole run of `saelex mntp`: a language model learns to fill in masked tokens, seeing both sides of each."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from saelex.encoder.batching import token_budget_batches
from saelex.encoder.settings import EncoderSettings
from saelex.encoder.tokens import TextTokenizer, special_ids
from saelex.errors import InputError
from saelex.files import expanded
from saelex.sae.training.processes import Processes
from saelex.training.mntp.batches import MaskedBatches, TokenBank, plan_run, read_tokens, split_heldout
from saelex.training.mntp.folder import BASE_MODEL, Workspace
from saelex.training.mntp.masking import Masking
from saelex.training.mntp.model import Loaded, MaskedLanguageModel, adapt, load_masked_model
from saelex.training.mntp.recipe import MntpRecipe
from saelex.training.text_reading import read_texts


class Heldout(NamedTuple):
    """How well masked tokens of texts that were not trained on are predicted."""

    loss: float
    """Cross entropy per masked token, nats."""
    accuracy: float
    """Share of the masked tokens whose most likely prediction is the token that was there."""
    tokens: int
    """Masked tokens."""


def train_mntp(
    recipe: MntpRecipe, output: str | Path, *, resume: bool = True, progress: bool = False
) -> dict[str, Any]:
    """Adapt a whole language model and write it to `output`, a Hugging Face checkpoint with its head.

    Decoders learn masked next-token prediction under bidirectional attention (LLM2Vec, arXiv 2404.05961), encoders
    masked language modelling. Returns what `saelex_mntp.json` in the folder records. Under `accelerate launch` the
    processes share the work; the main one writes.

    resume: go on from the last checkpoint of an unfinished run of the same recipe. Raises InputError for a recipe that
    cannot be run, an output that exists, another unfinished run in its place, and a loss that is not finite.
    """
    recipe.check()
    device = recipe.training.device or ("cuda" if torch.cuda.is_available() else "cpu")
    processes = Processes.start(device)
    progress = progress and processes.main
    workspace = Workspace(expanded(output), {**_flat(dataclasses.asdict(recipe)), "processes": processes.count})
    processes.from_main(lambda: workspace.check(resume))
    with _quiet(progress):
        loaded = load_masked_model(recipe)
        model = loaded.model
        adapted = adapt(model, recipe.lora, recipe.training.seed) if recipe.tune == "lora" else None
        masking = masking_of(recipe, loaded)
        per_step = recipe.training.accumulation_steps * processes.count
        training, heldout = _batches(recipe, loaded, masking, per_step, progress)
        steps = len(training) // per_step

        from saelex.training.mntp.trainer import MntpTrainer

        started = time.monotonic()
        checkpoint = processes.from_main(workspace.begin)
        trainer = MntpTrainer(model, recipe.training, training, steps, workspace.folder, progress=progress)
        before = measure(model, heldout, bf16=recipe.training.bf16)
        trainer.train(resume_from_checkpoint=checkpoint)
        after = measure(model, heldout, bf16=recipe.training.bf16)
        facts = _facts(recipe, loaded, masking, training, trainer.state.log_history) | {
            "steps": steps,
            "processes": processes.count,
            "seconds": round(time.monotonic() - started, 1),
            "heldout": {"texts": sum(map(len, heldout.batches)), "before": _record(before), "after": _record(after)},
        }
        whole = model.model if adapted is None else adapted.merge_and_unload()
        processes.from_main(lambda: workspace.finish(loaded, whole, facts))
    return facts


def masking_of(recipe: MntpRecipe, loaded: Loaded) -> Masking:
    """The recipe's masking for this model's tokenizer. Raises InputError for a mask token that it does not have."""
    tokenizer, decoder = loaded.tokenizer, loaded.architecture.decoder
    token = recipe.mask.token or tokenizer.mask_token or "_"
    mask_id = tokenizer.get_vocab().get(token)
    if mask_id is None:
        raise InputError(f"{recipe.model} has no token {token!r} to mask with; name one of its vocabulary: mask.token")
    special = special_ids(tokenizer.backend_tokenizer)
    ids = np.fromiter(tokenizer.get_vocab().values(), np.int64)  # Gemma 3's go beyond the model's vocabulary
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    return Masking(
        share=recipe.mask.share,
        mask_id=int(mask_id),
        keep=recipe.mask.keep,
        random=recipe.mask.random,
        words=np.setdiff1d(ids[ids < loaded.model.n_words], special),
        shifted=decoder,
        pad_id=pad_id,
    )


@torch.no_grad()
def measure(model: MaskedLanguageModel, batches: MaskedBatches, *, bf16: bool = False) -> Heldout | None:
    """Loss and accuracy on masked tokens, without dropout; None where there are no batches."""
    if not len(batches):
        return None
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    loss, correct, tokens = 0.0, 0, 0
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for i in range(len(batches)):
            batch = {name: value.to(device) for name, value in batches[i].items()}  # type: ignore[attr-defined]
            labels = batch.pop("labels")
            logits = model.logits(**batch).float()  # [masked, vocabulary]
            loss += float(cross_entropy(logits, labels, reduction="sum"))
            correct += int((logits.argmax(dim=1) == labels).sum())
            tokens += len(labels)
    model.train(was_training)
    return Heldout(loss / tokens, correct / tokens, tokens)


def _batches(
    recipe: MntpRecipe, loaded: Loaded, masking: Masking, per_step: int, progress: bool
) -> tuple[MaskedBatches, MaskedBatches]:
    """The batches of the run, and those of the held-out texts."""
    training = recipe.training
    backend = loaded.tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    limit = loaded.architecture.max_length(loaded.model.model.config)
    tokenizer = TextTokenizer(backend, EncoderSettings(max_document_length=recipe.max_length), limit)
    wanted = training.tokens
    if training.steps is not None:
        wanted = training.steps * per_step * training.batch_tokens
    if wanted is not None:
        wanted += recipe.heldout_texts * min(limit, recipe.max_length or limit)
    bank = read_tokens(read_texts(recipe.data), tokenizer, masking, wanted, progress=progress)
    learned, held = split_heldout(len(bank), recipe.heldout_texts, training.seed)
    plan = plan_run(
        bank.lengths[learned],
        budget=training.batch_tokens,
        most_texts=training.batch_texts,
        seed=training.seed,
        per_step=per_step,
        steps=training.steps,
        tokens=training.tokens,
    )
    held_plan = _in_order(bank, held, training.batch_tokens)
    return (
        MaskedBatches(bank, [learned[batch] for batch in plan], masking, training.seed),
        MaskedBatches(bank, held_plan, masking, training.seed + 1),
    )


def _in_order(bank: TokenBank, texts: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    return [texts[which] for which in token_budget_batches(bank.lengths[texts].tolist(), budget)]


def _facts(
    recipe: MntpRecipe, loaded: Loaded, masking: Masking, training: MaskedBatches, log: list[dict[str, Any]]
) -> dict[str, Any]:
    checkpoint = loaded.checkpoint
    base = str(checkpoint.settings.get(BASE_MODEL) or recipe.model)
    public = dataclasses.asdict(recipe)
    public["data"] |= {name: [Path(corpus).name for corpus in public["data"][name]] for name in ("corpora", "exclude")}
    if expanded(recipe.model).is_dir():  # a folder is known by its name, whoever's disk it lies on
        base, public["model"] = Path(base).name, Path(recipe.model).name
    return {
        "base": {
            "model": base,
            "revision": checkpoint.revision,
            "sha256": checkpoint.weights_sha256({name: name for name in checkpoint.weight_map}),
        },
        "recipe": public,
        "objective": "masked next-token prediction" if masking.shifted else "masked language modelling",
        "mask_id": masking.mask_id,
        "new_head": loaded.model.new_head,
        "tokens": training.tokens,
        "texts": len(training.bank),
        "history": [
            {name: entry[name] for name in ("step", "loss", "learning_rate", "grad_norm") if name in entry}
            for entry in log
            if "loss" in entry
        ],
    }


def _record(heldout: Heldout | None) -> dict[str, Any] | None:
    return None if heldout is None else heldout._asdict()


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""

    def pairs() -> Iterator[tuple[str, Any]]:
        for name, value in values.items():
            if isinstance(value, dict):
                yield from _flat(value, f"{prefix}{name}.").items()
            else:
                yield f"{prefix}{name}", value

    return dict(pairs())


@contextmanager
def _quiet(progress: bool) -> Iterator[None]:
    """Without transformers' report of the weights that a new head lacks, and its bars only where bars are wanted."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not progress:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
