"""From texts to the token states that an SAE is trained on, and the whole run of `saelex train-sae`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from saelex.corpus.reading import read_corpus
from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.vocabulary import load_transform
from saelex.encoder.batching import pack, windows
from saelex.encoder.digest import tensors_digest
from saelex.errors import InputError
from saelex.files import cache_folder
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.buffer import ArrayStates, StateSource
from saelex.sae.config import MLM_TRANSFORM
from saelex.sae.training.processes import Processes, Share, share_of
from saelex.sae.training.run import train_sae
from saelex.training.sae.recipe import SaeRecipe
from saelex.training.text_batches import TEXTS_PER_WINDOW, state_tokenizer, text_batches
from saelex.training.text_settings import TextData, TokenStates


class BackboneStates:
    """Token states of texts, computed as they are asked for: a StateSource over a corpus of any size.

    texts: called anew for each pass; gives the same texts in the same order. Masked tokens are left out, and sinks by
    the norm of the backbone's own states. transform: applied to the others' states, [tokens, d_model] -> the same.
    """

    def __init__(
        self,
        backbone: Backbone,
        texts: Callable[[], Iterable[str]],
        settings: TokenStates,
        transform: nn.Module | None = None,
    ) -> None:
        self.backbone = backbone
        self.texts = texts
        self.settings = settings
        self.transform = nn.Identity() if transform is None else transform
        self.d_model = backbone.d_model
        self._tokenizer = state_tokenizer(backbone, settings)

    def chunks(self, epoch: int, start: int, stride: int = 1) -> Iterator[Tensor]:
        """States [tokens, d_model] of 256 texts at a time; the order is the same in every pass."""
        for texts in islice(windows(iter(self.texts()), TEXTS_PER_WINDOW), start, None, stride):
            yield self._states(texts)

    @torch.no_grad()
    def _states(self, texts: list[str]) -> Tensor:
        parts = [torch.empty(0, self.d_model)]
        for _, batch in text_batches(self.backbone, self._tokenizer, texts, self.settings.token_budget):
            hidden = self.backbone(batch.input_ids, batch.attention_mask)  # [texts, length, d_model]
            kept = pack(hidden, batch.pooled, self.settings.sink_norm).hidden
            parts.append(self.transform(kept).float().cpu())
        return torch.cat(parts)


def read_texts(data: TextData) -> Iterator[str]:
    """The corpora's texts, one of each in turn, without those excluded and without blank ones."""
    excluded = {_digest(document.text) for source in data.exclude for document in read_corpus(source)}
    streams = [iter(read_corpus(source)) for source in data.corpora]
    count = 0
    while streams:
        for stream in list(streams):
            document = next(stream, None)
            if document is None:
                streams.remove(stream)
            elif document.content and (not excluded or _digest(document.text) not in excluded):
                yield document.content
                count += 1
                if count == data.max_texts:
                    return


def cache_in_memory(source: StateSource, *, seed: int = 0, progress: bool = False) -> ArrayStates:
    """All states of one pass, as float16 in memory."""
    parts = [_half(chunk) for chunk in _counted(source, progress)]
    return ArrayStates(np.concatenate(parts) if parts else np.empty((0, source.d_model), np.float16), seed=seed)


def cache_on_disk(source: StateSource, path: Path, *, seed: int = 0, progress: bool = False) -> ArrayStates:
    """All states of one pass, as a float16 file that is memory-mapped; an existing file is used as it is.

    path: raw float16 [tokens, d_model] in C order; written beside its place and renamed once it is whole.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".states-", delete=False) as file:
            try:
                for chunk in _counted(source, progress):
                    file.write(_half(chunk).tobytes())
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    tokens = path.stat().st_size // (2 * source.d_model)
    if not tokens:
        path.unlink()
        raise InputError("the texts gave no token states; check that the corpora hold text")
    return ArrayStates(np.memmap(path, np.float16, "r", shape=(tokens, source.d_model)), seed=seed)


def train_sae_on_text(
    recipe: SaeRecipe, output: str | Path | None, *, resume: bool = True, progress: bool = False
) -> SparseAutoencoder:
    """Run a recipe: texts through the backbone, states into the buffer, an SAE out of it.

    The saved configuration names backbone, layer (or the masked-LM transform), corpora and recipe. Raises InputError as
    `train_sae` and `load_transform` do, and for a recipe without model or corpora, or with two ideas of what a sink
    token is.
    """
    if not recipe.model or not recipe.data.corpora:
        raise InputError("the recipe names no model or no data.corpora; set both")
    if recipe.sink_factor is not None and recipe.states.sink_norm is not None:
        raise InputError("the recipe has sink_factor and states.sink_norm; set one of them")
    processes = Processes.start(recipe.training.device)
    progress = progress and processes.main
    backbone = Backbone.load(
        recipe.model,
        layer=recipe.layer,
        output="final" if recipe.transform else "residual",
        bidirectional=recipe.bidirectional,
        revision=recipe.revision,
        dtype=recipe.states.dtype,
        device=recipe.states.device,
    )
    transform = load_transform(backbone) if recipe.transform else None
    if (factor := recipe.sink_factor) is not None:
        whole = BackboneStates(backbone, lambda: read_texts(recipe.data), recipe.states)
        norm = processes.from_main(lambda: _sink_norm(whole, factor))
        recipe = dataclasses.replace(recipe, states=dataclasses.replace(recipe.states, sink_norm=norm))
    states = BackboneStates(backbone, lambda: read_texts(recipe.data), recipe.states, transform)
    source = share_of(states, processes)
    if recipe.states.cache != "none":
        # what a process has cached is its share already
        source = Share(_cached(recipe, states, source, processes, progress), Processes())
    return train_sae(
        source,
        recipe.training,
        output=output,
        model_name=backbone.model_id,
        layer=None if recipe.transform else backbone.layer,
        hook_name=MLM_TRANSFORM if recipe.transform else None,
        metadata={
            "data": [Path(corpus).name for corpus in recipe.data.corpora],
            "states": dataclasses.asdict(recipe.states),
            "bidirectional": backbone.bidirectional,
            "model_revision": backbone.revision,
        },
        resume=resume,
        progress=progress,
        processes=processes,
    )


def _sink_norm(states: StateSource, factor: float) -> float:
    """`factor` times the median norm of the first chunk, to three digits: no device computes it otherwise."""
    first = next(iter(states.chunks(0, 0)), None)
    if first is None or not len(first):
        raise InputError("the texts gave no token states; check that the corpora hold text")
    return float(f"{factor * float(first.norm(dim=1).median()):.3g}")


def _cached(
    recipe: SaeRecipe, states: BackboneStates, source: StateSource, processes: Processes, progress: bool
) -> ArrayStates:
    """This process's share of the states, computed once."""
    seed = recipe.training.seed
    if recipe.states.cache == "memory":
        return cache_in_memory(source, seed=seed, progress=progress)
    share = f".{processes.rank}-of-{processes.count}" if processes.count > 1 else ""
    path = cache_folder() / "sae-states" / f"{_states_key(recipe, states)}{share}.float16"
    return cache_on_disk(source, path, seed=seed, progress=progress)


def _states_key(recipe: SaeRecipe, states: BackboneStates) -> str:
    """Names the states by what decides them: backbone, transform, texts (files by size and time), tokenisation."""
    files = [
        (str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns)
        for corpus in (*recipe.data.corpora, *recipe.data.exclude)
        for path in (sorted(Path(corpus).glob("corpus.*")) if Path(corpus).is_dir() else [Path(corpus)])
    ]
    settings = dataclasses.asdict(recipe.states)
    for name in ("cache", "device", "token_budget"):
        del settings[name]
    facts: list[Any] = [states.backbone.identity(), files, recipe.data.max_texts, settings]
    if recipe.transform:
        facts.append(tensors_digest(states.transform.state_dict()))
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def _counted(source: StateSource, progress: bool) -> Iterator[Tensor]:
    with tqdm(desc="token states", unit="tok", unit_scale=True, disable=not progress) as bar:
        for chunk in source.chunks(0, 0):
            yield chunk
            bar.update(len(chunk))


def _half(states: Tensor) -> np.ndarray[Any, np.dtype[np.float16]]:
    half = states.half()
    if not bool(torch.isfinite(half).all()):
        raise InputError(
            "token states exceed float16's range (sink tokens?); set states.cache to none or states.sink_norm"
        )
    return half.numpy()


def _digest(text: str) -> bytes:
    return hashlib.blake2b(" ".join(text.split()).encode(), digest_size=16).digest()
