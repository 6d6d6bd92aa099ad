"""What an SAE is and what it was trained on: facts alone, without weights."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

MLM_TRANSFORM = "mlm_transform"
"""Hook of an SAE that reads what a masked-LM head's transform makes of the last block (SAE-SPLADE's "h")."""

NEURONPEDIA = "https://www.neuronpedia.org/"
"""Where "model/source/index" is the page of a latent, with what language models say of it."""

_NEURONPEDIA_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,99}/[A-Za-z0-9][\w.-]{0,99}", re.ASCII)


def is_neuronpedia_id(value: object) -> bool:
    """Whether a value can be Neuronpedia's "model/source", such as "gemma-2-2b/16-gemmascope-res-65k"."""
    return isinstance(value, str) and _NEURONPEDIA_ID.fullmatch(value) is not None


@dataclass(frozen=True)
class SaeConfig:
    """What an SAE is and what it was trained on.

    layer: the block, counted from 0, whose output the SAE reads (`blocks.<layer>.hook_resid_post`, Hugging Face's
        `hidden_states[layer + 1]`); None where the checkpoint does not say, or the hook is another place.
    hook_name: the states it reads, as TransformerLens names them, or MLM_TRANSFORM; those of `layer` where it is not
        given.
    dtype: of the weights as they were loaded or trained; the SAE fills it in.
    model_name: the language model, as the checkpoint names it; None where it does not.
    source: where the SAE was loaded from. metadata: anything else that the checkpoint records, as JSON values.
    """

    d_model: int
    n_latents: int
    model_name: str | None = None
    layer: int | None = None
    hook_name: str | None = None
    dtype: str = "float32"
    source: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.hook_name is None and self.layer is not None:
            object.__setattr__(self, "hook_name", f"blocks.{self.layer}.hook_resid_post")

    @property
    def reads_transform(self) -> bool:
        """Whether the states are those after the model's masked-LM transform."""
        return self.hook_name == MLM_TRANSFORM

    @property
    def neuronpedia(self) -> str | None:
        """Neuronpedia's "model/source" of its latents, as the checkpoint or the catalogue names it; None: neither."""
        known = self.metadata.get("neuronpedia_id")
        return str(known) if is_neuronpedia_id(known) else None
