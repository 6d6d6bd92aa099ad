"""Label-free retrieval: an SAE and corpus statistics make an encoder, without a single relevance judgement.

Latent Terms (arXiv 2605.29384): the pooled activations of a plain SAE are term frequencies, and BM25 weighs them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from saelex.encoder.encoder import Encoder
from saelex.encoder.settings import EncoderSettings
from saelex.encoder.weighting import WeightingSettings
from saelex.errors import InputError
from saelex.files import expanded
from saelex.sae.activations import TopK
from saelex.training.latent_statistics import weigh_latents
from saelex.training.text_settings import TextData


@dataclass(frozen=True)
class LabelFreeRecipe:
    """Everything that `saelex label-free` needs."""

    model: str = ""
    """Backbone: hub id or folder."""
    sae: str = ""
    """The SAE: a folder, or a name that `saelex sae list` shows."""
    bidirectional: bool | None = None
    """Attention of a decoder; null lets its tokens see both sides, false keeps it as the SAE knows it."""
    k: int | None = None
    """Latents per token, for a TopK SAE; null is the number it was trained with. Fewer make sparser vectors."""
    pooling: Literal["max", "sum"] = "max"
    """How a text's tokens become one vector."""
    saturation: Literal["log1p", "sqrt", "none"] = "sqrt"
    """Applied to the pooled activations, before the weighting."""
    settings: EncoderSettings = field(default_factory=EncoderSettings)
    """Lengths, prompts, masks, Top-K and the scale of words."""
    weighting: WeightingSettings = field(default_factory=WeightingSettings)
    """BM25 over latents."""
    data: TextData = field(default_factory=TextData)
    """Texts on which the statistics are counted, once; they are frozen in the model."""
    training_data: str = ""
    """What the texts are and under which licences they stand, for the model card; empty names the corpora."""
    licence: str = ""
    """Of the model, for its card."""


def label_free_encoder(recipe: LabelFreeRecipe, *, progress: bool = False) -> Encoder:
    """The encoder of a recipe: backbone and SAE, with the statistics of the recipe's texts as its weighting.

    Raises InputError for a recipe without model, SAE or texts, MismatchError when SAE and backbone do not match.
    """
    if not recipe.model or not recipe.sae or not recipe.data.corpora:
        raise InputError("the recipe names no model, no sae or no data.corpora; set all three")
    encoder = Encoder.from_sae(
        recipe.model,
        recipe.sae,
        pooling=recipe.pooling,
        saturation=recipe.saturation,
        bidirectional=recipe.bidirectional,
        settings=recipe.settings,
    )
    if recipe.k is not None:
        if not isinstance(encoder.head.activation, TopK):
            raise InputError("k is for TopK SAEs; this one has another gate, so leave k out")
        encoder.head.activation = TopK(recipe.k)
    weigh_latents(encoder, recipe.data, recipe.weighting, progress=progress)
    encoder.description |= {
        "sae": Path(recipe.sae).name if expanded(recipe.sae).exists() else recipe.sae,
        "training_data": recipe.training_data or ", ".join(Path(corpus).name for corpus in recipe.data.corpora),
        "weights_of_latents": "label-free: BM25 over latents, its statistics counted on the training data",
        "licence": recipe.licence,
    }
    return encoder
