"""BERT as an ONNX model, written here: embedded tokens in, hidden states out; neither torch nor the onnx package.

ONNX is protobuf: a message is its fields one after another, each a key (number and kind) and a value. The few kinds of
message that a model consists of are written by `_field`, so that what ONNX Runtime and OpenVINO read is in memory
within a tenth of a second and nothing is cached. Embeddings stay outside: a text reads few of their rows.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.backbone.bert_settings import BertSettings
from saelex.encoder.backbone.stored import BertWeights, Block, Dense, Norm
from saelex.errors import InputError

Array = NDArray[Any]

INPUTS, OUTPUT = ("embedded", "mask"), "hidden"
"""embedded: [texts, length, d_model], padded. mask: [texts, 1, 1, length], added to scores: 0, or far below."""
_IR, _OPSET, _CONTRIBUTED = 9, 20, "com.microsoft"
_FLOAT, _INT8, _INT64 = 1, 3, 7  # TensorProto.DataType
_KINDS = {np.dtype(np.float32): _FLOAT, np.dtype(np.int8): _INT8, np.dtype(np.int64): _INT64}
_ACTIVATIONS: dict[str, tuple[str, dict[str, str]]] = {
    "gelu": ("Gelu", {}),
    "gelu_new": ("Gelu", {"approximate": "tanh"}),
    "gelu_pytorch_tanh": ("Gelu", {"approximate": "tanh"}),
    "relu": ("Relu", {}),
}
_SILU = ("silu", "swish")


def bert_model(weights: BertWeights, shape: BertSettings, *, int8: bool = False) -> bytes:
    """The serialised model. int8: products of 8-bit weights, a scale a column, and states quantised batch by batch."""
    graph = _Graph(int8=int8)
    hidden = INPUTS[0]
    for block in weights.blocks:
        hidden = _block(graph, hidden, block, shape)
    graph.node("Identity", [hidden], outputs=[OUTPUT])
    width = shape.hidden_size
    values = [
        _field(11, _value(INPUTS[0], ["texts", "length", width])),
        _field(11, _value(INPUTS[1], ["texts", 1, 1, "length"])),
        _field(12, _value(OUTPUT, ["texts", "length", width])),
    ]
    body = b"".join([*graph.nodes, _field(2, "bert"), *graph.constants, *values])
    sets = [("", _OPSET), *([(_CONTRIBUTED, 1)] if int8 else [])]
    opsets = [_field(8, _field(1, domain) + _field(2, version)) for domain, version in sets]
    return b"".join([_field(1, _IR), _field(2, "saelex"), *opsets, _field(7, body)])


class _Graph:
    """Nodes and constants, named in the order in which they come."""

    def __init__(self, *, int8: bool) -> None:
        self.nodes: list[bytes] = []
        self.constants: list[bytes] = []
        self.int8 = int8

    def node(
        self, kind: str, inputs: Sequence[str], *, outputs: Sequence[str] = (), domain: str = "", **set: Any
    ) -> str:
        """Adds a node; the name of its (first) output."""
        outputs = outputs or [f"v{len(self.nodes)}"]
        fields = [_field(1, name) for name in inputs] + [_field(2, name) for name in outputs]
        attributes = [_field(5, _attribute(name, value)) for name, value in set.items()]
        parts = [*fields, _field(3, f"n{len(self.nodes)}"), _field(4, kind), *attributes, _field(7, domain)]
        self.nodes.append(_field(1, b"".join(parts)))
        return outputs[0]

    def constant(self, array: Array) -> str:
        """Adds a constant; its name."""
        name = f"c{len(self.constants)}"
        dims = b"".join(_field(1, size) for size in array.shape)
        raw = np.ascontiguousarray(array).tobytes()
        self.constants.append(_field(5, dims + _field(2, _KINDS[array.dtype]) + _field(8, name) + _field(9, raw)))
        return name

    def dense(self, states: str, layer: Dense) -> str:
        """states @ weight.T + bias."""
        if self.int8:
            scale = np.maximum(np.abs(layer.weight).max(axis=1), 1e-12) / np.float32(127)  # [d_out]
            whole = np.rint(layer.weight / scale[:, None]).astype(np.int8)
            inputs = [states, *map(self.constant, (whole.T, scale)), "", self.constant(layer.bias)]
            return self.node("DynamicQuantizeMatMul", inputs, domain=_CONTRIBUTED)
        product = self.node("MatMul", [states, self.constant(layer.weight.T)])
        return self.node("Add", [product, self.constant(layer.bias)])

    def add_and_norm(self, states: str, residual: str, norm: Norm, eps: float) -> str:
        """The layer norm of a sum."""
        total = self.node("Add", [states, residual])
        return self.node(
            "LayerNormalization", [total, self.constant(norm.weight), self.constant(norm.bias)], axis=-1, epsilon=eps
        )

    def activate(self, states: str, name: str) -> str:
        """The activation of this name in config.json. Raises InputError for one that is not known."""
        if name in _SILU:
            return self.node("Mul", [states, self.node("Sigmoid", [states])])
        if name not in _ACTIVATIONS:
            raise InputError(f"unknown activation {name!r} in config.json; supported are {', '.join(_ACTIVATIONS)}")
        kind, settings = _ACTIVATIONS[name]
        return self.node(kind, [states], **settings)


def _block(graph: _Graph, hidden: str, block: Block, shape: BertSettings) -> str:
    eps = shape.layer_norm_eps
    attended = graph.dense(_attention(graph, hidden, block.projections, shape), block.attended)
    attended = graph.add_and_norm(attended, hidden, block.attended_norm, eps)
    widened = graph.activate(graph.dense(attended, block.widened), shape.hidden_act)
    return graph.add_and_norm(graph.dense(widened, block.narrowed), attended, block.norm, eps)


def _attention(graph: _Graph, hidden: str, projections: Dense, shape: BertSettings) -> str:
    width, heads = shape.hidden_size, shape.num_attention_heads
    scale = np.ones(3 * width, np.float32)  # of the scores, on the query's side
    scale[:width] = (width // heads) ** -0.5
    scaled = Dense(projections.weight * scale[:, None], projections.bias * scale)
    parts = [f"{hidden}.{name}" for name in ("query", "key", "value")]
    graph.node("Split", [graph.dense(hidden, scaled)], outputs=parts, axis=-1, num_outputs=3)
    by_head = graph.constant(np.array([0, 0, heads, width // heads], np.int64))
    orders = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])  # of query, transposed key, value
    query, key, value = (
        graph.node("Transpose", [graph.node("Reshape", [part, by_head])], perm=order)
        for part, order in zip(parts, orders)
    )
    scores = graph.node("Add", [graph.node("MatMul", [query, key]), INPUTS[1]])  # [texts, heads, length, length]
    mixed = graph.node("MatMul", [graph.node("Softmax", [scores], axis=-1), value])
    together = graph.node("Transpose", [mixed], perm=[0, 2, 1, 3])
    return graph.node("Reshape", [together, graph.constant(np.array([0, 0, width], np.int64))])


# ---- protobuf -------------------------------------------------------------------------------------------------------


def _field(number: int, value: int | float | str | bytes) -> bytes:
    """One field of a message: a whole number, a float32, or a text or message with its length before it."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers as two's complement
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _attribute(name: str, value: int | float | str | list[int]) -> bytes:
    if isinstance(value, list):
        content, kind = b"".join(_field(8, item) for item in value), 7
    elif isinstance(value, str):
        content, kind = _field(4, value), 3
    elif isinstance(value, float):
        content, kind = _field(2, value), 1
    else:
        content, kind = _field(3, value), 2
    return _field(1, name) + content + _field(20, kind)


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    """The type of an input or output: float32, each size a number or a name."""
    dims = b"".join(_field(1, _field(1 if isinstance(size, int) else 2, size)) for size in shape)
    tensor = _field(1, _FLOAT) + _field(2, dims)
    return _field(1, name) + _field(2, _field(1, tensor))
