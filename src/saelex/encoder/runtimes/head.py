"""The head on arrays: what `LinearHead` and `saelex.encoder.pooling` are to torch, for inference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saelex.compiling import counted, loops
from saelex.encoder import plain_kernels
from saelex.encoder.backbone.stored import NeedsTorchError
from saelex.encoder.digest import arrays_digest, head_digest
from saelex.encoder.runtimes.activations import activation_named
from saelex.encoder.runtimes.layer_norm import layer_norm
from saelex.encoder.runtimes.product import product
from saelex.errors import InputError
from saelex.files import fact_of
from saelex.reading.json_object import JsonObject
from saelex.reading.tensors import WEIGHT_DTYPES, SafetensorsFile
from saelex.vectors import SparseRows

Array = NDArray[np.float32]
Transform = Callable[[Array], Array]

_BLOCK_ENTRIES = 2**20  # of products; 4 MiB, a share of the last-level cache
_FEWEST_LATENTS = 256
_FEW_TOKENS = 512  # of a query, or a few
_LATENTS_AT_A_TIME = 8192
_SHAPE = (
    "n_latents", "d_model", "activation", "pooling", "saturation", "softcap", "transform",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class ArrayHead:
    """A head's numbers, all float32; see `LinearHead` for what they mean.

    k: of a TopK gate, else None. threshold: what a pre-activation must exceed, [n_latents] or [1]; 0 for ReLU.
    """

    weight: Array
    bias: Array
    scale: Array | None
    alpha: np.float32
    k: int | None
    threshold: Array
    softcap: float | None
    pooling: str
    saturation: str
    transform: Transform | None

    @property
    def n_latents(self) -> int:
        """Number of latents."""
        return len(self.weight)

    @property
    def d_model(self) -> int:
        """Width of the states that it reads."""
        return int(self.weight.shape[1])

    # ---- pooling ----------------------------------------------------------------------------------------------------

    def rows(self, hidden: Array, offsets: NDArray[np.int64]) -> SparseRows:
        """Every sequence's active latents with their weights and tokens, counted among the sequence's own.

        hidden: [tokens, d_model], packed; offsets: [sequences + 1]. Raises InputError for states that are not finite.
        """
        if self.transform is not None:
            hidden = self.transform(hidden)
        hidden = np.ascontiguousarray(hidden, np.float32)
        with counted():
            kernels = loops(plain_kernels, "saelex.encoder.kernels", much=len(hidden) > _FEW_TOKENS)
            return self._pooled(hidden, offsets, kernels)

    def _pooled(self, hidden: Array, offsets: NDArray[np.int64], kernels: Any) -> SparseRows:
        if self.k is not None:
            return self._topk_rows(hidden, offsets, self.k, kernels)
        if self.pooling == "sum":
            total, tokens = self._summed(hidden, offsets, kernels)
            indptr, latents, weights, tokens = kernels.active(self.alpha * total, tokens, np.zeros_like(self.bias))
            return self._rows(indptr, latents, weights, tokens)
        maxima, tokens = self._maxima(hidden, offsets, kernels)
        floor = np.broadcast_to(np.maximum(self.threshold, 0), self.bias.shape).copy()
        indptr, latents, values, tokens = kernels.active(maxima, tokens, floor)
        return self._rows(indptr, latents, self.alpha * self._saturated(self._capped(values)), tokens)

    def _rows(self, indptr: Any, latents: Any, weights: Array, tokens: Any) -> SparseRows:
        if not np.isfinite(weights).all():  # no Top-K of them, and an index would keep them for good
            raise InputError("the backbone's hidden states hold NaN or infinity: load it in float32 or bfloat16")
        return SparseRows(indptr, latents, weights.astype(np.float32, copy=False), self.n_latents, tokens)

    def _maxima(self, hidden: Array, offsets: NDArray[np.int64], kernels: Any) -> tuple[Array, NDArray[np.int32]]:
        shape = (len(offsets) - 1, self.n_latents)
        maxima, tokens = np.empty(shape, np.float32), np.empty(shape, np.int32)
        for start, _, block in self._blocks(hidden):
            kernels.segment_max(block, offsets, maxima, tokens, start)
        maxima += self.bias
        if self.scale is not None:
            maxima *= self.scale
        return maxima, tokens

    def _summed(self, hidden: Array, offsets: NDArray[np.int64], kernels: Any) -> tuple[Array, NDArray[np.int32]]:
        shape = (len(offsets) - 1, self.n_latents)
        total, maxima, tokens = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.int32)
        for start, stop, block in self._blocks(hidden):
            here = slice(start, stop) if len(self.threshold) > 1 else slice(None)
            pre = self._capped(self._scaled(block, start, stop))
            latents = np.where(pre <= np.maximum(self.threshold[here], 0), np.float32(0), pre)  # NaN stays, and shows
            kernels.segment_max(latents, offsets, maxima, tokens, start)
            kernels.segment_sum(self._saturated(latents), offsets, total, start)
        tokens[maxima <= 0] = -1
        return total, tokens

    def _topk_rows(self, hidden: Array, offsets: NDArray[np.int64], k: int, kernels: Any) -> SparseRows:
        values = np.full((len(hidden), k), -np.inf, np.float32)
        latents = np.zeros((len(hidden), k), np.int64)
        ones = np.ones_like(self.bias) if self.scale is None else self.scale
        for start, stop, block in self._blocks(hidden):
            kernels.keep_largest(block, self.bias[start:stop], ones[start:stop], values, latents, start)
        places = kernels.strongest(values, latents, offsets, self.n_latents)
        token = places // k
        sequence = np.searchsorted(offsets, token, side="right") - 1
        indptr = np.searchsorted(sequence, np.arange(len(offsets))).astype(np.int64)
        if self.pooling == "sum":
            weights = self._sums_of_topk(values, latents, offsets)[sequence, latents.reshape(-1)[places]]
        else:
            weights = self._saturated(values.reshape(-1)[places])
        active = latents.reshape(-1)[places].astype(np.int32)
        return self._rows(indptr, active, self.alpha * weights, (token - offsets[sequence]).astype(np.int32))

    def _sums_of_topk(self, values: Array, latents: NDArray[np.int64], offsets: NDArray[np.int64]) -> Array:
        """Saturated latents added up over each sequence's tokens, [sequences, latents]."""
        total = np.zeros((len(offsets) - 1, self.n_latents), np.float32)
        sequence = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        active = ~(values <= 0)  # NaN reaches the result
        np.add.at(total, (np.broadcast_to(sequence[:, None], values.shape)[active], latents[active]),
                  self._saturated(values[active]))  # fmt: skip
        return total

    def _blocks(self, hidden: Array) -> Iterator[tuple[int, int, Array]]:
        """(start, stop, hidden @ weight[start:stop].T), a block to overwrite."""
        step = max(_BLOCK_ENTRIES // max(len(hidden), 1) // _FEWEST_LATENTS, 1) * _FEWEST_LATENTS
        for start in range(0, self.n_latents, step):
            rows = self.weight[start : start + step]
            yield start, start + len(rows), product(hidden, rows)

    def _scaled(self, block: Array, start: int, stop: int) -> Array:
        block += self.bias[start:stop]
        if self.scale is not None:
            block *= self.scale[start:stop]
        return block

    def _capped(self, pre: Array) -> Array:
        return pre if self.softcap is None else np.float32(self.softcap) * np.tanh(pre / np.float32(self.softcap))

    def _saturated(self, latents: Array) -> Array:
        if self.saturation == "log1p":
            return np.log1p(latents)
        if self.saturation == "log1p_log1p":
            return np.log1p(np.log1p(latents))
        return np.sqrt(latents) if self.saturation == "sqrt" else latents

    # ---- directions -------------------------------------------------------------------------------------------------

    def neighbours(self, latent: int, n: int) -> list[tuple[int, float]]:
        """As `LinearHead.neighbours`."""
        if not 0 <= latent < self.n_latents:
            raise InputError(f"no latent {latent}; they run from 0 to {self.n_latents - 1}")
        own = self.weight[latent] / max(float(np.linalg.norm(self.weight[latent])), 1e-12)
        cosines = np.empty(self.n_latents, np.float32)
        for start in range(0, self.n_latents, _LATENTS_AT_A_TIME):
            rows = self.weight[start : start + _LATENTS_AT_A_TIME]
            cosines[start : start + len(rows)] = (rows @ own) / np.maximum(np.linalg.norm(rows, axis=1), 1e-12)
        cosines[latent] = -np.inf
        best = np.argsort(-cosines, kind="stable")[: min(n, self.n_latents - 1)]
        return [(int(i), float(cosines[i])) for i in best]


# ---- files ----------------------------------------------------------------------------------------------------------


def read_array_head(path: Path, config: JsonObject) -> tuple[ArrayHead, str]:
    """The head of a file and its config, and its digest as `stored_head.stored_digest` has it.

    Raises InputError where the two do not make a head, NeedsTorchError for one that is rounded when it is loaded.
    """
    file = SafetensorsFile(path)
    dtype = config.text("dtype")
    if dtype not in WEIGHT_DTYPES:
        raise config.wrong("dtype", "the name of a dtype that weights have")
    if dtype != "float32" and dtype != file.dtype("weight"):
        raise NeedsTorchError(f"{path} is rounded to {dtype} when it is loaded, which only torch does")
    gate, transform = config.object("activation"), config.object_or_none("transform")
    kind = gate.text("kind")
    if kind not in ("relu", "jumprelu", "topk"):
        raise InputError(f"unknown gate {kind!r:.60} in {config.where}; a newer saelex may have written this model")
    arrays = {name: file.weight_array(name) for name in _names(kind, transform, file)}
    width = config.whole("n_latents", least=1), config.whole("d_model", least=1)
    _check_shapes(arrays, width, path)
    head = ArrayHead(
        np.ascontiguousarray(arrays["weight"], np.float32),
        arrays["bias"].astype(np.float32),
        arrays["scale"].astype(np.float32) if "scale" in arrays else None,
        np.float32(arrays["alpha"].reshape(-1)[0]),
        gate.whole("k", least=1) if kind == "topk" else None,
        arrays.get("activation.threshold", np.zeros(1, np.float32)).astype(np.float32),
        config.number_or("softcap", None),
        config.text("pooling"),
        config.text("saturation"),
        None if transform is None else _transform(transform, arrays),
    )
    if head.k is not None and head.k > head.n_latents:
        raise InputError(f"TopK keeps {head.k} latents per token, but the head has {head.n_latents}")
    # the same fact as torch's reader computes of the same values
    digest = fact_of(path, f"values as {dtype}", lambda: arrays_digest(arrays))
    return head, head_digest({name: config.get(name) for name in _SHAPE}, digest)


def _names(kind: str, transform: JsonObject | None, file: SafetensorsFile) -> list[str]:
    """Of the tensors that make a head."""
    names = ["weight", "bias", "alpha", *(["scale"] if "scale" in file else [])]
    names += ["activation.threshold"] if kind == "jumprelu" else []
    return names + ([name for name in file if name.startswith("transform.")] if transform is not None else [])


def _check_shapes(arrays: Mapping[str, NDArray[Any]], width: tuple[int, int], path: Path) -> None:
    if arrays["weight"].shape != width:
        raise InputError(f"{path}: holds {list(arrays['weight'].shape)} weights, not {list(width)}; save it again")
    if arrays["alpha"].size != 1:
        raise InputError(f"{path}: alpha is of the shape {list(arrays['alpha'].shape)}, not a number")
    allowed = {"bias": [(width[0],)], "scale": [(width[0],)], "activation.threshold": [(width[0],), (1,)]}
    for name, shapes in allowed.items():
        if name in arrays and arrays[name].shape not in shapes:
            raise InputError(f"{path}: {name} is {list(arrays[name].shape)}, not one number a latent; save it again")


def _transform(shape: JsonObject, arrays: Mapping[str, NDArray[Any]], prefix: str = "transform.") -> Transform:
    kind = shape.text("kind")
    if kind == "sequence":
        parts = [_transform(part, arrays, f"{prefix}{i}.") for i, part in enumerate(shape.objects("parts"))]
        return lambda states: _through(parts, states)
    if kind == "token_norm":
        return _layer_normed if shape.text("norm") == "layer_norm" else _length_normed
    if kind != "masked_lm":
        raise InputError(f"unknown transform {kind!r:.60} in {shape.where}; a newer saelex wrote it")
    activate, eps = activation_named(shape.text("activation")), shape.number("eps")
    own = {name.removeprefix(prefix): array.astype(np.float32) for name, array in arrays.items()
           if name.startswith(prefix)}  # fmt: skip
    if not {"dense.weight", "norm.weight"} <= own.keys():
        raise InputError(f"{shape.where}: the head's transform has other tensors; save the model again")

    def masked_lm(states: Array) -> Array:
        inner: Array = states @ own["dense.weight"].T
        if "dense.bias" in own:
            inner += own["dense.bias"]
        activate(inner)
        return layer_norm(inner, own["norm.weight"], own.get("norm.bias"), eps)

    return masked_lm


def _through(parts: list[Transform], states: Array) -> Array:
    for part in parts:
        states = part(states)
    return states


def _layer_normed(states: Array) -> Array:
    """SAELens' "layer_norm": see `saelex.sae.normalisation.TokenNorm`."""
    offset = states.mean(axis=-1, keepdims=True)
    spread = states.std(axis=-1, ddof=1, keepdims=True) + np.float32(1e-5)
    normed: Array = (states - offset) / spread
    return normed


def _length_normed(states: Array) -> Array:
    length = np.linalg.norm(states, axis=-1, keepdims=True)
    normed: Array = states / (length / np.float32(states.shape[-1] ** 0.5))
    return normed
