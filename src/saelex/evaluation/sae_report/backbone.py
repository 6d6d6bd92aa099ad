"""The backbone that an SAE belongs to, read as in the SAE's training."""

from __future__ import annotations

from saelex.encoder.backbone.architectures import architecture_of
from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.packaged import open_checkpoint
from saelex.errors import InputError
from saelex.loading import Loading
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.catalogue import models
from saelex.training.text_settings import TokenStates


def backbone_of(
    sae: SparseAutoencoder,
    states: TokenStates,
    *,
    model: str | None = None,
    layer: int | None = None,
    bidirectional: bool | None = None,
) -> Backbone:
    """Load the model whose states an SAE reads, cut after its layer.

    model, layer: where the SAE does not name them. bidirectional: attention of a decoder; None is what the SAE records
    of its training, and otherwise causal, as the published suites were trained.
    Raises InputError where model or layer are not known, and for another layer than the SAE's.
    """
    config = sae.config
    name = model or _hub_name(config.model_name)
    layer = config.layer if layer is None else layer
    if name is None:
        raise InputError("the SAE does not say which model it belongs to; name it with --model")
    if layer is None:
        raise InputError("the SAE does not say which block it reads; name it with --layer")
    revision = None if model else config.metadata.get("model_revision")
    if bidirectional is None:
        bidirectional = config.metadata.get("bidirectional")
    if bidirectional is None and _is_decoder(name, revision):
        bidirectional = False
    return Backbone.load(
        name,
        layer=layer,
        bidirectional=bidirectional,
        dtype=states.dtype,
        device=states.device,
        revision=revision,
    )


def _hub_name(name: str | None) -> str | None:
    """Suites name their models as TransformerLens does, without the owner; the catalogue knows him."""
    if name is None or "/" in name:
        return name
    return next((known.name for known in models().values() if known.is_called(name)), name)


def _is_decoder(name: str, revision: str | None) -> bool:
    checkpoint = open_checkpoint(name, Loading(revision=revision))
    return architecture_of(checkpoint.settings, name)[0].decoder
