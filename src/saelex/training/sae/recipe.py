"""The recipe of `saelex train-sae`."""

from __future__ import annotations

from dataclasses import dataclass, field

from saelex.sae.training.settings import SaeTraining
from saelex.training.text_settings import TextData, TokenStates


@dataclass(frozen=True)
class SaeRecipe:
    """Everything that `saelex train-sae` needs."""

    model: str = ""
    """Backbone: hub id or folder."""
    layer: int | None = None
    """Block, from 0, whose output is read; null is the last one."""
    transform: bool = False
    """Read the output of the model's masked-LM transform instead of the block's own."""
    bidirectional: bool | None = None
    """Let a decoder's tokens see both sides; null is the backbone's default."""
    revision: str | None = None
    """Hub revision of the backbone."""
    data: TextData = field(default_factory=TextData)
    """Which texts are read."""
    states: TokenStates = field(default_factory=TokenStates)
    """How texts become token states."""
    sink_factor: float | None = None
    """Find states.sink_norm: so many times the median norm of the first 256 texts' states, once. 10 suits decoders."""
    training: SaeTraining = field(default_factory=SaeTraining)
    """How the SAE is trained."""
