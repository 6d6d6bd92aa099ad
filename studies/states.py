"""Token states of texts kept on disk, and SAEs trained on them: what the studies share."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.batching import pack, pad, token_budget_batches
from saelex.encoder.settings import EncoderSettings, Side
from saelex.encoder.tokens import TextTokenizer, TokenizedText, rust_tokenizer
from saelex.files import cache_folder
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.training.buffer import ArrayStates
from saelex.sae.training.run import train_sae
from saelex.sae.training.settings import SaeTraining
from saelex.training.sae.recipe import SaeRecipe


class TextStates(NamedTuple):
    """States of the tokens that may activate latents, one text after the other."""

    states: NDArray[np.float16]  # [tokens, d_model], memory-mapped
    offsets: NDArray[np.int64]  # [texts + 1]: text i owns the tokens offsets[i]:offsets[i + 1]


def train_on_states(
    recipe: SaeRecipe, states: TextStates, layer: int, training: SaeTraining, folder: Path
) -> SparseAutoencoder:
    """The SAE in this folder; trained on the states of its layer where it is not there yet.

    training: in place of the recipe's.
    """
    if (folder / "cfg.json").exists():
        return SparseAutoencoder.load(folder)
    print(f"SAE {folder.name} ...", flush=True)
    return train_sae(
        ArrayStates(states.states, seed=training.seed),
        training,
        output=folder,
        model_name=recipe.model,
        layer=layer,
        metadata={"data": [Path(corpus).name for corpus in recipe.data.corpora], "states": asdict(recipe.states)},
        progress=True,
    )


def training_states(
    recipe: SaeRecipe, backbone: Backbone, layers: Sequence[int], texts: Sequence[str]
) -> dict[int, TextStates]:
    """`text_states` as the recipe reads texts: its length, its masked tokens, its batches."""
    settings = EncoderSettings(
        max_document_length=recipe.states.max_length, mask_special_tokens=recipe.states.mask_special_tokens
    )
    return text_states(backbone, layers, texts, settings, "document", recipe.states.token_budget)


def text_states(
    backbone: Backbone, layers: Sequence[int], texts: Sequence[str], settings: EncoderSettings, side: Side, budget: int
) -> dict[int, TextStates]:
    """States of the texts after each of these blocks, from the cache folder where they are there already.

    backbone: of BERT's kind, with all these blocks; one pass through it serves all of them. budget: tokens of a batch.
    """
    tokenized = TextTokenizer(rust_tokenizer(backbone), settings, backbone.max_length).tokenize(texts, side)
    offsets = np.cumsum([0, *(int(text.pooled.sum()) for text in tokenized)], dtype=np.int64)
    shape = (int(offsets[-1]), backbone.d_model)
    folder, key = cache_folder() / "study-states", _key(backbone, tokenized)
    paths = {layer: folder / f"{key}-layer-{layer}.float16" for layer in layers}
    missing = {layer: path for layer, path in paths.items() if not path.exists()}
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = {layer: path.with_suffix(f".{os.getpid()}") for layer, path in missing.items()}
        states = {layer: np.memmap(path, np.float16, "w+", shape=shape) for layer, path in unfinished.items()}
        _fill(states, offsets, backbone, tokenized, budget)
        for layer, path in missing.items():
            states[layer].flush()
            unfinished[layer].replace(path)
    return {layer: TextStates(np.memmap(path, np.float16, "r", shape=shape), offsets) for layer, path in paths.items()}


@torch.inference_mode()
def _fill(
    states: dict[int, np.memmap[Any, np.dtype[np.float16]]],
    offsets: NDArray[np.int64],
    backbone: Backbone,
    tokenized: Sequence[TokenizedText],
    budget: int,
) -> None:
    """Writes every text's states to its place, for all layers from one pass."""
    blocks = list(backbone.model.get_submodule("encoder.layer").children())
    hidden: dict[int, Tensor] = {}  # layer -> [texts, length, d_model]
    hooks = [
        blocks[layer].register_forward_hook(lambda _, __, output, layer=layer: hidden.update({layer: output}))
        for layer in states
    ]
    with tqdm(total=int(offsets[-1]), desc="token states", unit="tok", unit_scale=True) as bar:
        for chosen in token_budget_batches([len(text.ids) for text in tokenized], budget):
            batch = pad([tokenized[i] for i in chosen], backbone.pad_id)
            backbone(batch.input_ids, batch.attention_mask)
            for layer, target in states.items():
                packed = pack(hidden[layer], batch.pooled)
                half, starts = packed.hidden.half().numpy(), packed.offsets.tolist()
                for row, text in enumerate(chosen):
                    target[offsets[text] : offsets[text + 1]] = half[starts[row] : starts[row + 1]]
            bar.update(int(batch.pooled.sum()))
    for hook in hooks:
        hook.remove()


def _key(backbone: Backbone, tokenized: Sequence[TokenizedText]) -> str:
    """Names the states by what decides them: the backbone and every token with its mark."""
    digest = hashlib.sha256(json.dumps(backbone.identity(), sort_keys=True).encode())
    for text in tokenized:
        digest.update(len(text.ids).to_bytes(4, "little") + text.ids.tobytes() + text.pooled.tobytes())
    return digest.hexdigest()[:24]
