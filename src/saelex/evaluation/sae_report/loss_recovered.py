"""How much of a language model's own loss survives when an SAE's reconstruction takes the place of its states."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.language_model import LanguageModel
from saelex.errors import InputError
from saelex.progress import progress_bar
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.metrics import sae_pieces
from saelex.training.text_batches import TextBatch, state_tokenizer, text_batches
from saelex.training.text_settings import TokenStates

_LOGITS = 1 << 27  # numbers held at a time: tokens of a batch times words of the vocabulary

Ablation = Literal["zero", "mean"]
Replace = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LossRecovered:
    """Cross-entropies in nats, mean over the same targets."""

    objective: Literal["next token", "masked token"]
    targets: int
    """Tokens predicted."""
    clean: float
    """With the states as they are."""
    spliced: float
    """With the SAE's reconstructions in their place."""
    ablated: float
    """With zeros, or the mean state, in their place."""
    ablation: Ablation

    @property
    def recovered(self) -> float:
        """(ablated - spliced) / (ablated - clean): 1 where the reconstruction is as good as the states, 0 where it is
        as bad as none. An ablation that destroys the model makes every SAE look good: read the losses too."""
        harm = self.ablated - self.clean
        return (self.ablated - self.spliced) / harm if harm else math.nan


@torch.no_grad()
def loss_recovered(
    saes: Sequence[SparseAutoencoder],
    backbone: Backbone,
    texts: Iterable[str],
    settings: TokenStates,
    *,
    mean_state: Tensor | None = None,
    masked_share: float = 0.15,
    seed: int = 0,
    progress: bool = False,
) -> list[LossRecovered]:
    """The loss recovered by each SAE, at the backbone's layer, on the same texts and targets.

    What is replaced: the states that the SAEs read. Special tokens' stay as they are (`settings.mask_special_tokens`),
    and so do the prompt's and sinks' (`settings.sink_norm`). What is predicted: causal models, every such token from
    those before it; masked models, a share of them, drawn by (seed, number of the text), at least one per text, all
    written as the mask token. The states at masked places are replaced like the others.

    mean_state: [d_model], put in place of every state for the ablation; None puts zeros there.

    Raises InputError where the model has no loss (see `LanguageModel.of`) or nothing is predicted.
    """
    model = LanguageModel.of(backbone)
    mask_id = None if model.causal else _mask_id(backbone)
    baseline = torch.zeros(backbone.d_model) if mean_state is None else mean_state
    replacements: list[Replace | None] = [None, lambda states: baseline.to(states).expand_as(states)]
    replacements += [_reconstruction(sae) for sae in saes]
    sums, targets = np.zeros(len(replacements)), 0
    budget = min(settings.token_budget, max(1, _LOGITS // model.n_words))
    tokenizer = state_tokenizer(backbone, settings)
    with progress_bar(desc="loss recovered", unit="text", shown=progress) as bar:
        for batch in text_batches(backbone, tokenizer, texts, budget):
            predicted = batch.padded.pooled.clone()  # [texts, length]
            if mask_id is None:
                predicted[:, 0] = False  # nothing comes before it
            else:
                predicted = _draw(batch, masked_share, seed)
            targets += int(predicted.sum())
            for i, replace in enumerate(replacements):
                sums[i] += _loss(model, batch, predicted, mask_id, _splice(replace, batch, settings.sink_norm))
            bar.update(len(batch.numbers))
    if not targets:
        raise InputError("no token to predict; check that the texts are read and longer than a word")
    clean, ablated, *spliced = (float(total) / targets for total in sums)
    objective: Literal["next token", "masked token"] = "next token" if model.causal else "masked token"
    ablation: Ablation = "zero" if mean_state is None else "mean"
    return [LossRecovered(objective, targets, clean, loss, ablated, ablation) for loss in spliced]


def _mask_id(backbone: Backbone) -> int:
    mask_id = backbone.tokenizer.mask_token_id
    if mask_id is None:
        raise InputError(f"the tokenizer of {backbone.model_id} has no mask token to predict")
    return int(mask_id)


def _draw(batch: TextBatch, share: float, seed: int) -> Tensor:
    """Which tokens are masked, bool [texts, length]; the same for a text whatever else is in its batch."""
    drawn = np.zeros(tuple(batch.padded.pooled.shape), np.bool_)
    for row, number in enumerate(batch.numbers.tolist()):
        places = torch.nonzero(batch.padded.pooled[row]).flatten().cpu().numpy()
        if len(places):
            count = max(1, round(share * len(places)))
            drawn[row, np.random.default_rng([seed, number]).choice(places, count, replace=False)] = True
    return torch.from_numpy(drawn).to(batch.padded.pooled.device)


def _splice(replace: Replace | None, batch: TextBatch, sink_norm: float | None) -> Replace | None:
    """From hidden states to hidden states: those that SAEs read are replaced, in their own dtype."""
    if replace is None:
        return None

    def splice(hidden: Tensor) -> Tensor:  # [texts, length, d_model]
        where = batch.padded.pooled
        if sink_norm is not None:
            where = where & (hidden.float().norm(dim=-1) <= sink_norm)
        spliced = hidden.clone()
        spliced[where] = replace(hidden[where].float()).to(hidden.dtype)
        return spliced

    return splice


def _reconstruction(sae: SparseAutoencoder) -> Replace:
    def rebuild(states: Tensor) -> Tensor:  # [tokens, d_model]
        parts = [output.reconstruction for _, output in sae_pieces(sae, states)]
        return torch.cat(parts) if parts else states

    return rebuild


def _loss(
    model: LanguageModel, batch: TextBatch, predicted: Tensor, mask_id: int | None, replace: Replace | None
) -> float:
    """Sum of the cross-entropies of the predicted tokens."""
    ids, attention_mask, _ = batch.padded
    shown = ids if mask_id is None else ids.masked_fill(predicted, mask_id)
    logits = model(shown, attention_mask, replace)  # [texts, length, n_words]
    targets = ids[predicted]  # [targets]
    told = logits[:, :-1][predicted[:, 1:]] if mask_id is None else logits[predicted]  # [targets, n_words]
    return float(torch.nn.functional.cross_entropy(told.float(), targets, reduction="none").double().sum())
