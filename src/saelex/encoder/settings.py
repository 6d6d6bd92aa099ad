"""What an encoder does with text around its weights: prompts, lengths, masks, Top-K. Saved as `saelex_config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf
from typing import Any, Literal

from saelex.errors import InputError
from saelex.reading.json_object import JsonObject, settings_from
from saelex.top_k import Cut, TopKSetting

Side = Literal["query", "document"]

_MOST = 2**31 - 1  # of tokens

DEFAULT: Literal["default"] = "default"
"""Stands for the Top-K of the encoder's settings where a call takes `top_k`, since None already means all latents."""

TopKChoice = TopKSetting | Literal["default"]


@dataclass(frozen=True)
class EncoderSettings:
    """Saved with the model. All but Top-K and what words have are part of its fingerprint: they make other vectors.

    query_prompt, document_prompt: put in front of every text of that side.
    pool_prompt: whether the prompt's own tokens may activate latents (they always give context).
    max_query_length, max_document_length: tokens kept, special tokens counted; None is the backbone's own limit.
    query_top_k, document_top_k: latents kept per vector when a call names no other number (SPLARE: 40 and 400); None
        keeps all; "40+80%" keeps 40, and more of a vector until they carry 80 % of the sum of its weights.
    mask_special_tokens: leave [CLS], [SEP], BOS and the like out of the pooling. A BOS token is an attention sink with
        huge activations: under max pooling it can swamp a decoder's vectors. Published SPLADE models do pool them.
    sink_norm: tokens whose hidden state has a larger L2 norm are left out too; None leaves none out. An absolute
        number, so that a text's vector does not depend on its neighbours in a batch; `Encoder.measure_sink_norm` finds
        one.
    word_scale: what a word's BM25 score counts beside this encoder's latents, in an index that keeps words as well.
    word_language: of the words in an index that names no other: as `saelex.encoder.words.languages` has it.
    """

    query_prompt: str = ""
    document_prompt: str = ""
    pool_prompt: bool = True
    max_query_length: int | None = None
    max_document_length: int | None = None
    query_top_k: int | str | None = 40
    document_top_k: int | str | None = 400
    mask_special_tokens: bool = True
    sink_norm: float | None = None
    word_scale: float = 1.0
    word_language: str = "en"

    def __post_init__(self) -> None:
        for name in ("query_top_k", "document_top_k"):
            if (value := getattr(self, name)) is not None:
                Cut.read(value, f"encoder setting {name}", others="null for all")
        for name in ("max_query_length", "max_document_length"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _MOST):
                raise InputError(f"encoder setting {name} is a positive whole number or null, not {value!r}")
        for name, kind in (
            ("query_prompt", str),
            ("document_prompt", str),
            ("word_language", str),
            ("pool_prompt", bool),
            ("mask_special_tokens", bool),
        ):
            if not isinstance(getattr(self, name), kind):
                raise InputError(f"encoder setting {name} is a {kind.__name__}, not {getattr(self, name)!r}")
        if self.sink_norm is not None and not (isinstance(self.sink_norm, (int, float)) and 0 < self.sink_norm < inf):
            raise InputError(f"encoder setting sink_norm is a positive number or null, not {self.sink_norm!r}")
        if not (isinstance(self.word_scale, (int, float)) and 0 < self.word_scale < inf):
            raise InputError(f"encoder setting word_scale is a positive number, not {self.word_scale!r}")

    def prompt(self, side: Side) -> str:
        """The text put in front of a query or a document."""
        return self.query_prompt if side == "query" else self.document_prompt

    def max_length(self, side: Side) -> int | None:
        """Most tokens of a text of this side, special tokens counted."""
        return self.max_query_length if side == "query" else self.max_document_length

    def top_k(self, side: Side, asked: TopKChoice = DEFAULT) -> TopKSetting:
        """How many latents to keep: what a call asked for, or this side's setting. Raises InputError for neither."""
        if asked == DEFAULT:
            return self.query_top_k if side == "query" else self.document_top_k
        if asked is None:
            return None
        Cut.read(asked, "top_k", others="'default', or None for all")
        return asked

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, one per field."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EncoderSettings:
        """From `to_dict`. Raises InputError for a field this version does not know or a value it cannot take."""
        held = values if isinstance(values, JsonObject) else JsonObject(values, "encoder settings")
        return settings_from(cls, held)

    def identity(self) -> dict[str, Any]:
        """The part that the fingerprint covers: what changes weights; Top-K and the scale of words do not."""
        outside = {"query_top_k", "document_top_k", "word_scale", "word_language"}
        return {name: value for name, value in self.to_dict().items() if name not in outside}
