"""A training run from beginning to end: checkpoints, logs, progress, and the finished SAE."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from saelex.errors import InputError
from saelex.files import expanded
from saelex.progress import progress_bar
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.training.buffer import StateSource, as_source
from saelex.sae.training.checkpoints import Checkpoints
from saelex.sae.training.logs import Log, open_log
from saelex.sae.training.processes import Processes
from saelex.sae.training.settings import SaeTraining
from saelex.sae.training.trainer import SaeTrainer, Saved


def train_sae(
    states: StateSource | Tensor | NDArray[Any] | Iterable[Tensor],
    settings: SaeTraining,
    *,
    output: str | Path | None = None,
    model_name: str | None = None,
    layer: int | None = None,
    hook_name: str | None = None,
    metadata: dict[str, Any] | None = None,
    resume: bool = True,
    progress: bool = False,
    processes: Processes | None = None,
) -> SparseAutoencoder:
    """Train an SAE on token states.

    states: a tensor or array [tokens, d_model], an iterable of such chunks that can be walked again, or a StateSource.
        With several processes each reads its share of the chunks.
    output: folder for the SAE (SAELens' layout), `metrics.jsonl` and, while it runs, checkpoints; a run that was killed
        goes on from its last checkpoint and ends with the same weights, bit for bit (on a CPU; a GPU adds in any
        order). With several processes all of them see it. None keeps everything in memory.
    model_name, layer, hook_name, metadata: recorded in the SAE's configuration.
    processes: those that share the work; None meets the ones that `accelerate launch` started.

    Raises InputError when training diverges or dies, when the folder holds a finished SAE, or when a run is resumed
    with other settings.
    """
    if output is None and settings.log_to:
        raise InputError("log_to writes into the output folder; name one")
    processes = processes or Processes.start(settings.device)
    checkpoints = Checkpoints(expanded(output), asdict(settings)) if output is not None else None
    saved = None
    if checkpoints is not None:
        processes.from_main(lambda: checkpoints.begin(resume))
        saved = checkpoints.latest()
    trainer = SaeTrainer(as_source(states), settings, processes, Saved(*saved) if saved else None)
    _run(trainer, checkpoints, progress and processes.main)
    sae = trainer.export(model_name=model_name, layer=layer, hook_name=hook_name, metadata=metadata)
    if checkpoints is not None:
        processes.from_main(lambda: _finish(sae, checkpoints))
    return sae


def _run(trainer: SaeTrainer, checkpoints: Checkpoints | None, progress: bool) -> None:
    """All steps that are left."""
    settings, first = trainer.settings, trainer.step
    logs = _logs(trainer, checkpoints)
    started, done, total = time.monotonic(), first * settings.batch_tokens, settings.steps * settings.batch_tokens
    with contextlib.ExitStack() as stack:
        for log in logs:
            stack.callback(log.close)
        bar = stack.enter_context(
            progress_bar(desc="training", total=total, initial=done, unit="tok", unit_scale=True, shown=progress)
        )
        # not one batch more than needed: it may fill a whole buffer
        for batch in islice(trainer.buffer, max(0, settings.steps - first)):
            record = trainer.train_step(batch)
            bar.update(settings.batch_tokens)
            if record is not None:
                record["tokens_per_s"] = round((record["tokens"] - done) / (time.monotonic() - started))
                bar.set_postfix_str(f"fvu {record['fvu']:.3f}, l0 {record['l0']:.1f}, dead {record['dead_share']:.2f}")
                for log in logs:
                    log.record(trainer.step, record)
            if checkpoints and settings.checkpoint_steps and trainer.step % settings.checkpoint_steps == 0:
                state = trainer.state()
                if trainer.processes.main:
                    checkpoints.write(trainer.step, *state)


def _logs(trainer: SaeTrainer, checkpoints: Checkpoints | None) -> list[Log]:
    """Where the main process writes records to; the others write none."""
    if checkpoints is None or not trainer.processes.main:
        return []
    others = [
        open_log(name, checkpoints.folder, asdict(trainer.settings), trainer.step + 1)
        for name in trainer.settings.log_to
    ]
    return [checkpoints, *others]


def _finish(sae: SparseAutoencoder, checkpoints: Checkpoints) -> None:
    sae.save(checkpoints.folder)
    checkpoints.finish()
