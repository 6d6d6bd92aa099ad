"""A BERT on disk, cut after the block that a head reads, as arrays: `Backbone` for runtimes without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.backbone.adapter import open_with_adapter
from saelex.encoder.backbone.architectures import ARCHITECTURES, architecture_of
from saelex.encoder.backbone.bert_settings import BertSettings
from saelex.encoder.backbone.configuration import cut_settings, model_config, pad_id, settings_digest
from saelex.encoder.backbone.hugging_face import hugging_face_tokenizer
from saelex.encoder.backbone.low_rank_file import LowRankFile
from saelex.errors import InputError, MismatchError
from saelex.loading import Loading
from saelex.reading.tensors import SafetensorsFile

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Array = NDArray[np.float32]


class NeedsTorchError(InputError):
    """What is told to be computed without torch cannot be, as the message says."""


class Dense(NamedTuple):
    """x @ weight.T + bias."""

    weight: Array  # [d_out, d_in]
    bias: Array


class Norm(NamedTuple):
    """A layer norm's gain and offset, [d_model] each."""

    weight: Array
    bias: Array


class Block(NamedTuple):
    """One block of BERT. projections: of query, key and value, one below the other."""

    projections: Dense
    attended: Dense
    attended_norm: Norm
    widened: Dense
    narrowed: Dense
    norm: Norm


class BertWeights(NamedTuple):
    """All that a forward pass reads. words stays in its file, of which a text reads few rows."""

    words: Array  # [vocabulary, d_model], memory-mapped
    positions: Array  # [most tokens, d_model], the type of a first text's tokens added
    norm: Norm
    blocks: tuple[Block, ...]


class StoredBackbone:
    """The files of a BERT up to and including block `layer`, with its tokenizer; attributes as in `Backbone`.

    model: folder or hub id. update: file of a low-rank update of this very cut.

    Raises `Backbone.load`'s errors, and NeedsTorchError for what only torch loads: other types of model, other files
    than safetensors, other dtypes than float32, adapters of peft.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        layer: int,
        bidirectional: bool,
        output: str,
        window: str,
        update: Path | None,
        revision: str | None,
        loading: Loading,
    ) -> None:
        self.checkpoint, adapter = open_with_adapter(model, replace(loading, revision=revision))
        self.model_id = self.base_model = self.checkpoint.model_id
        architecture, settings = architecture_of(self.checkpoint.settings, self.model_id)
        if settings["model_type"] != "bert":
            raise NeedsTorchError(
                f"{self.model_id} is of type {settings['model_type']}, and only BERT runs without torch"
            )
        if adapter is not None:
            raise NeedsTorchError(f"{self.model_id} has a peft adapter, which only torch merges")
        if not bidirectional:
            raise InputError(f"{self.model_id}: a bert's attention is bidirectional; mend the model's configuration")
        config = model_config(settings)
        self.settings, self.layer = cut_settings(settings, config, layer, self.model_id)
        self.shape = BertSettings.from_config(self.settings)
        self.bidirectional, self.output, self.window = bidirectional, output, window
        self.max_length = architecture.max_length(config)
        self.tokenizer_files = self.checkpoint
        self.update = None if update is None else LowRankFile(update)
        self._names = self._stored_names()
        self._check_dtypes()

    @property
    def d_model(self) -> int:
        """Width of a hidden state."""
        return self.shape.hidden_size

    @property
    def n_words(self) -> int:
        """Rows of the token embedding: numbers of tokens are below it."""
        return self.shape.vocab_size

    @property
    def pad_id(self) -> int:
        """Fills a batch up on the right."""
        return pad_id(self.settings, self.model_id)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """transformers' own; asked for where the model's files disagree with each other."""
        return hugging_face_tokenizer(self.tokenizer_files)

    def identity(self) -> dict[str, Any]:
        """As `Backbone.identity` has it, but for the dtype, which no fingerprint knows."""
        return {
            "model_type": self.settings["model_type"],
            "config": settings_digest(self.settings),
            "weights": self.checkpoint.weights_sha256(self._names),
            "adapter": None if self.update is None else self.update.digest(),
            "layer": self.layer,
            "bidirectional": self.bidirectional,
            "output": self.output,
            "window": self.window,
        }

    def weights(self) -> BertWeights:
        """The numbers, in float32, the update merged in. Raises MismatchError where shapes do not fit config.json."""
        width, inner = self.shape.hidden_size, self.shape.intermediate_size
        words = self._array("embeddings.word_embeddings.weight", (self.shape.vocab_size, width))
        positions = self._array("embeddings.position_embeddings.weight", (self.shape.max_position_embeddings, width))
        types = self._array("embeddings.token_type_embeddings.weight", (self.shape.type_vocab_size, width))
        blocks = []
        for number in range(self.layer + 1):
            block = f"encoder.layer.{number}"
            parts = [self._dense(f"{block}.attention.self.{name}", width, width) for name in ("query", "key", "value")]
            projections = Dense(*(np.concatenate(some) for some in zip(*parts)))
            blocks.append(
                Block(
                    projections,
                    self._dense(f"{block}.attention.output.dense", width, width),
                    self._norm(f"{block}.attention.output.LayerNorm"),
                    self._dense(f"{block}.intermediate.dense", inner, width),
                    self._dense(f"{block}.output.dense", width, inner),
                    self._norm(f"{block}.output.LayerNorm"),
                )
            )
        if self.update is not None and (others := self.update.modules - set(self._dense_names())):
            raise MismatchError(
                f"the low-rank update has a module {min(others)}, the backbone has none; it is of another model"
            )
        return BertWeights(words, positions + types[0], self._norm("embeddings.LayerNorm"), tuple(blocks))

    def _dense(self, name: str, d_out: int, d_in: int) -> Dense:
        weight = self._array(f"{name}.weight", (d_out, d_in))
        if self.update is not None:
            weight = self.update.merged(name, weight)
        return Dense(weight, self._array(f"{name}.bias", (d_out,)))

    def _norm(self, name: str) -> Norm:
        shape = (self.shape.hidden_size,)
        return Norm(self._array(f"{name}.weight", shape), self._array(f"{name}.bias", shape))

    def _array(self, name: str, shape: tuple[int, ...]) -> Array:
        array = self._file(name).weight_array(self._names[name])
        if array.shape != shape:
            raise MismatchError(
                f"the weights of {self.model_id} do not fit its config.json: {name} is {list(array.shape)}, not "
                f"{list(shape)}"
            )
        return array

    def _file(self, name: str) -> SafetensorsFile:
        return self._files[self.checkpoint.weight_map[self._names[name]]]

    @cached_property
    def _files(self) -> Mapping[str, SafetensorsFile]:
        names = {self.checkpoint.weight_map[stored] for stored in self._names.values()}
        return {name: self.checkpoint.safetensors(name) for name in names}

    def _stored_names(self) -> dict[str, str]:
        """The stored name of every tensor; those that `Backbone` reads."""
        prefixes = ARCHITECTURES["bert"].prefixes
        modules = [*self._dense_names(), *self._norm_names()]
        wanted = [f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")]
        wanted += [f"{module}.{part}" for module in modules for part in ("weight", "bias")]
        found = {name: self.checkpoint.find(name, prefixes) for name in wanted}
        if missing := [name for name, stored in found.items() if stored is None]:
            raise MismatchError(f"{self.model_id} lacks {missing[0]}; its weights do not belong to its config.json")
        return {name: stored for name, stored in found.items() if stored is not None}

    def _dense_names(self) -> list[str]:
        kinds = (
            "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
            "intermediate.dense", "output.dense",
        )  # fmt: skip
        return [f"encoder.layer.{block}.{kind}" for block in range(self.layer + 1) for kind in kinds]

    def _norm_names(self) -> list[str]:
        kinds = ("attention.output.LayerNorm", "output.LayerNorm")
        blocks = [f"encoder.layer.{block}.{kind}" for block in range(self.layer + 1) for kind in kinds]
        return ["embeddings.LayerNorm", *blocks]

    def _check_dtypes(self) -> None:
        """Raises NeedsTorchError for weights that torch would load in another dtype than float32."""
        others = sorted(
            name for name in {self.checkpoint.weight_map[key] for key in self._names.values()}
            if not name.endswith(".safetensors")
        )  # fmt: skip
        if others:
            raise NeedsTorchError(f"{self.model_id}: its weights are in {others[0]}, which only torch reads")
        named = self.checkpoint.settings.get("dtype") or self.checkpoint.settings.get("torch_dtype")
        words = "embeddings.word_embeddings.weight"
        dtypes = {str(named or self._file(words).dtype(self._names[words])).removeprefix("torch.")}
        dtypes |= {self._file(name).dtype(stored) for name, stored in self._names.items()}
        if dtypes != {"float32"}:
            raise NeedsTorchError(
                f"{self.model_id} has weights in {', '.join(sorted(dtypes))}, and float32 runs without torch"
            )
