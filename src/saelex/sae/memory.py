"""How much memory an SAE takes as a head, and the part of its language model that it needs: arithmetic on shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DTYPE_BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}

_GATES_WITH_THRESHOLDS = ("jumprelu",)


def head_bytes(d_model: int, n_latents: int, gate: str, dtype: str) -> int:
    """Bytes of an SAE as a `LinearHead`: the encoder's weight in `dtype`, its bias and thresholds in float32."""
    per_latent = 4 * (2 if gate in _GATES_WITH_THRESHOLDS else 1)
    return n_latents * (d_model * DTYPE_BYTES[dtype] + per_latent)


@dataclass(frozen=True)
class BaseModel:
    """A language model as its config.json has it, as far as its size is concerned.

    name: hub id. type: `model_type` of its text model. blocks: number of transformer blocks. d_model: width of a hidden
    state. mlp: width inside the MLP. heads, kv_heads, head_dim: of the attention. vocabulary: rows of the embedding.
    names: what checkpoints call the model besides. The sizes are 0 for types that `parameters` does not know.
    """

    name: str
    type: str
    blocks: int
    d_model: int
    mlp: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    vocabulary: int = 0
    names: tuple[str, ...] = ()

    def is_called(self, name: str) -> bool:
        """Whether a checkpoint that names `name` means this model; owner, case and folder do not matter."""
        return _own_name(name) in {_own_name(known) for known in (self.name, *self.names)}

    def parameters(self, layer: int) -> int | None:
        """Parameters of the model cut after block `layer`: embedding and blocks 0 to `layer`, without the final norm.

        None for a type of model whose blocks are not known here.
        """
        if self.type not in _BLOCKS:
            return None
        extras = _BLOCKS[self.type]
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        block = self.d_model * (2 * queries + 2 * keys)  # q, o; k, v
        block += 3 * self.d_model * self.mlp  # gate, up, down
        block += extras.norms * self.d_model
        block += 2 * self.head_dim if extras.head_norms else 0
        block += queries + 2 * keys if extras.biases else 0
        return self.vocabulary * self.d_model + (layer + 1) * block


@dataclass(frozen=True)
class _Block:
    """What one kind of block has besides its matrices.

    norms: layer norms. head_norms: whether queries and keys have a norm. biases: whether q, k and v have one.
    """

    norms: int
    head_norms: bool = False
    biases: bool = False


_BLOCKS: Mapping[str, _Block] = {
    "llama": _Block(2),
    "mistral": _Block(2),
    "qwen2": _Block(2, biases=True),
    "qwen3": _Block(2, head_norms=True),
    "gemma2": _Block(4),
    "gemma3_text": _Block(4, head_norms=True),
}


def _own_name(name: str) -> str:
    return name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].lower()
