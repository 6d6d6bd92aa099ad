"""One pass of a backbone over texts, measured for one or more SAEs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.batching import pack
from saelex.errors import InputError
from saelex.evaluation.sae_report.contexts import TopFirings
from saelex.evaluation.sae_report.loss_recovered import Ablation, LossRecovered, loss_recovered
from saelex.progress import progress_bar
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.metrics import SaeSummary, SaeTotals, sae_pieces
from saelex.training.text_batches import state_tokenizer, text_batches
from saelex.training.text_settings import TokenStates

Texts = Callable[[], Iterable[str]]


@dataclass(frozen=True)
class ReportSettings:
    """How an SAE is measured."""

    states: TokenStates = field(default_factory=TokenStates)
    """How texts become token states."""
    dense_above: float = 0.1
    """Share of tokens above which a latent counts as dense."""
    loss: bool = True
    """Measure the loss recovered, where the backbone has a language model head."""
    ablation: Ablation = "zero"
    """What the loss recovered is compared with: zeros in place of the states, or their mean."""
    masked_share: float = 0.15
    """Share of the tokens that a masked language model has to guess."""
    examples: int = 12
    """Living latents, drawn at random, that are shown with their strongest contexts."""
    densest: int = 20
    """Latents of the greatest density that are shown."""
    contexts: int = 5
    """Contexts per latent, each from another text."""
    seed: int = 0
    """Of the examples and of the masked tokens."""


class Measured(NamedTuple):
    """What a pass found; the lists run parallel to the SAEs."""

    texts: int
    summaries: list[SaeSummary]
    firings: TopFirings
    """Of the first SAE."""
    losses: list[LossRecovered] | None
    no_loss: str
    """Why there are no losses; empty where there are."""


def measure(
    saes: Sequence[SparseAutoencoder],
    backbone: Backbone,
    texts: Texts,
    settings: ReportSettings,
    *,
    progress: bool = False,
) -> Measured:
    """Measure SAEs on the states of the texts after the backbone's last block.

    texts: called anew for each pass; gives the same texts in the same order.
    Raises MismatchError for an SAE of another model or layer, InputError where the texts give no states.
    """
    for sae in saes:
        sae.check_belongs(backbone.base_model, backbone.layer, backbone.d_model)
    totals = [SaeTotals(sae.config.d_model, sae.config.n_latents) for sae in saes]
    firings = TopFirings(saes[0].config.n_latents, settings.contexts)
    count = _walk(saes, backbone, texts, settings, totals, firings, progress)
    summaries = [total.summary(settings.dense_above) for total in totals]
    losses, no_loss = None, ""
    if settings.loss:
        mean_state = torch.from_numpy(summaries[0].mean_state) if settings.ablation == "mean" else None
        try:
            losses = loss_recovered(
                saes,
                backbone,
                texts(),
                settings.states,
                mean_state=mean_state,
                masked_share=settings.masked_share,
                seed=settings.seed,
                progress=progress,
            )
        except InputError as error:
            no_loss = str(error)
    return Measured(count, summaries, firings, losses, no_loss or ("" if losses else "it was not asked for"))


@torch.no_grad()
def _walk(
    saes: Sequence[SparseAutoencoder],
    backbone: Backbone,
    texts: Texts,
    settings: ReportSettings,
    totals: Sequence[SaeTotals],
    firings: TopFirings,
    progress: bool,
) -> int:
    """Feed totals and firings; returns how many texts were read."""
    count = 0
    with progress_bar(desc="states", unit="text", shown=progress) as bar:

        def counted() -> Iterable[str]:
            nonlocal count
            for text in texts():
                count += 1
                yield text

        states_settings = settings.states
        tokenizer = state_tokenizer(backbone, states_settings)
        for numbers, batch in text_batches(backbone, tokenizer, counted(), states_settings.token_budget):
            hidden = backbone(batch.input_ids, batch.attention_mask)  # [texts, length, d_model]
            packed = pack(hidden, batch.pooled, states_settings.sink_norm)
            states = packed.hidden.float()  # [tokens, d_model]
            which = torch.from_numpy(numbers).repeat_interleave(packed.offsets.cpu().diff())  # [tokens]
            positions = packed.positions.cpu()
            for i, (sae, total) in enumerate(zip(saes, totals)):
                for piece, (latents, reconstruction) in sae_pieces(sae, states):
                    total.observe(states[piece], latents, reconstruction)
                    if i == 0:
                        firings.observe(latents, which[piece], positions[piece])
            bar.update(len(numbers))
    return count
