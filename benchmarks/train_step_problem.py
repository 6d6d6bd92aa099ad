"""One training step of a retrieval recipe at a stated size, with saelex' head and with plain PyTorch's: train_step.py.

Backbone, adapters, batch, objective and optimiser are saelex' own in both, one and the same objects; the heads differ.
"""

from __future__ import annotations

import json
import random
import string
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from saelex.encoder.backbone.attention import make_bidirectional
from saelex.encoder.backbone.backbone import Backbone, build_skeleton
from saelex.encoder.backbone.checkpoint import Checkpoint
from saelex.encoder.backbone.packaged import MINILM
from saelex.encoder.backbone.vocabulary import MaskedLMTransform
from saelex.encoder.batching import PackedStates, pack
from saelex.encoder.encoder import Encoder
from saelex.encoder.head import LinearHead
from saelex.encoder.pooling import pool
from saelex.encoder.settings import EncoderSettings
from saelex.encoder.tokens import TextTokenizer, rust_tokenizer
from saelex.sae.activations import Activation, JumpReLU, ReLU, TopK
from saelex.training.examples.example import Example
from saelex.training.lora import LoraRecipe
from saelex.training.retrieval.batch import Chunk, Collator, RetrievalBatch, Texts
from saelex.training.retrieval.model import RetrievalModel, Vectors
from saelex.training.retrieval.objective import Objective
from saelex.training.retrieval.recipe import LossRecipe, SparsityRecipe
from saelex.training.retrieval.settings import TuneRecipe
from saelex.training.retrieval.start import prepare

Model = Literal["minilm", "llama", "toy llama"]
Gate = Literal["topk", "jumprelu", "vocabulary"]

# Llama-3.1-8B's config.json as far as it decides shapes, cut after block 26 (SPLARE-7B)
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 128_256,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 27,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "tie_word_embeddings": False,
    "bos_token_id": 128_000,
    "eos_token_id": 128_001,
}
TOY_LLAMA = LLAMA | {"vocab_size": 500, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3}
TOY_LLAMA |= {"num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 0}


@dataclass(frozen=True)
class Case:
    """What is trained, on how much.

    joint: backbone, head and alpha learn (SAE-SPLADE, SPLADE); else adapters, beside a frozen head (SPLARE). A
        vocabulary head is tied to the backbone's embedding.
    k: of a TopK gate. nonzeros: active latents of a passage under the other gates.
    layer: the last block of MiniLM; None is all of it.
    """

    name: str
    gate: Gate
    latents: int
    joint: bool = False
    model: Model = "minilm"
    queries: int = 24
    negatives: int = 2
    tokens: int = 128
    query_tokens: int = 32
    k: int = 16
    nonzeros: int = 400
    layer: int | None = None
    checkpointing: bool = False
    device: str = "cpu"

    @property
    def bf16(self) -> bool:
        """Backbone and head in bfloat16, under autocast, as the recipes for large models say."""
        return self.model == "llama"

    @property
    def texts(self) -> int:
        """Queries and passages of a step."""
        return self.queries * (2 + self.negatives)


class PlainModel(RetrievalModel):
    """RetrievalModel with the head that one would write; activations over latents of all tokens, under autograd.

    From the gate on, these are sentence-transformers' SpladePooling's operations, one by one. Like ours it takes the
    batch in parts of some 4,000 tokens, so that only one part's gradient [tokens, latents] exists at a time.

    values_only: of a TopK gate, go on with the k values of every token instead of a [tokens, latents] tensor of zeros
        and values, as those do who know that it is sparse (SAE-SPLADE's code).
    exact: the head in float32, whatever autocast says.
    """

    def __init__(self, encoder: Encoder, *, values_only: bool = False, exact: bool = False) -> None:
        super().__init__(encoder)
        self.values_only = values_only
        self.exact = exact

    def forward(self, chunk: Chunk) -> Vectors:
        """Vectors of the chunk's queries and passages."""
        return Vectors(self._encode(chunk.queries), self._encode(chunk.passages), None)

    def _encode(self, texts: Texts) -> Tensor:
        rows = []
        for part in texts.parts:
            hidden = self.backbone(part.input_ids, part.attention_mask)
            with torch.autocast(hidden.device.type, enabled=False) if self.exact else nullcontext():
                rows.append(self._pool(hidden, part.pooled))
        return torch.cat(rows)[texts.places]  # [texts, latents]

    def _pool(self, hidden: Tensor, pooled: Tensor) -> Tensor:
        """hidden: [texts, length, d_model]; pooled: bool [texts, length]; returns [texts, latents]."""
        head, weight = self.head, self.head.weight.to(torch.float32) if self.exact else self.head.weight
        hidden = head.transform(hidden)
        if self.exact:
            hidden = hidden.float()
        logits = functional.linear(hidden, weight, head.bias)  # [texts, length, latents]
        mask = pooled[:, :, None].to(logits.dtype)  # [texts, length, 1]
        if isinstance(head.activation, TopK):
            values, latents = logits.topk(head.activation.k, dim=-1)  # [texts, length, k]
            if self.values_only:
                weights = torch.log1p(torch.relu(values * mask))
                rows = weights.new_zeros(len(hidden), head.n_latents)
                return head.alpha * rows.scatter_reduce(1, latents.flatten(1), weights.flatten(1), "amax")
            logits = torch.zeros_like(logits).scatter(-1, latents, values)
        elif isinstance(head.activation, JumpReLU):
            logits = torch.where(logits > head.activation.threshold, logits, 0.0)
        active = (logits * mask).relu_()
        del logits
        return head.alpha * torch.log1p(active).max(dim=1).values


class Problem:
    """A case made ready: encoder, models over it, optimiser and objective."""

    def __init__(self, case: Case) -> None:
        torch.manual_seed(0)
        self.case = case
        backbone = _backbone(case)
        settings = EncoderSettings(max_query_length=case.query_tokens, max_document_length=case.tokens)
        tokenizer = rust_tokenizer(backbone)
        self._tokenizer = TextTokenizer(tokenizer, settings, backbone.max_length)
        self._words = sorted(word for word in tokenizer.get_vocab() if word.isascii() and word.isalpha())
        self._pad_id = backbone.pad_id
        encoder = Encoder(backbone, _head(case, backbone, self._states(backbone)), settings)
        joint = TuneRecipe(backbone="full", head=True, alpha=True, dropout=0.0)
        adapters = TuneRecipe(backbone="lora", lora=LoraRecipe(rank=64, alpha=128.0), dropout=0.0)
        prepare(encoder, joint if case.joint else adapters, gradient_checkpointing=case.checkpointing)
        self.encoder = encoder
        self.fused = RetrievalModel(encoder).to(case.device).train()
        self.learning = [parameter for _, parameter in self.fused.trainable()]
        self.optimiser = torch.optim.AdamW(self.learning, lr=1e-5, weight_decay=0.0)
        loss, sparsity = LossRecipe(kl=1.0, temperature=20.0, margin_mse=0.0), SparsityRecipe()
        self.objective = Objective(loss, sparsity, encoder.n_latents)

    def model(self, implementation: str) -> RetrievalModel:
        """By name: fused is saelex' own; plain, plain_values and plain_exact are PlainModels."""
        if implementation == "fused":
            return self.fused
        options = {"plain": {}, "plain_values": {"values_only": True}, "plain_exact": {"exact": True}}
        return PlainModel(self.encoder, **options[implementation]).train()

    def batch(self, queries: int) -> RetrievalBatch:
        """Queries and passages of random words, each as long as it may be."""
        draw, case = random.Random(0), self.case
        examples = []
        for _ in range(queries):
            passages = tuple(self._text(draw, case.tokens) for _ in range(1 + case.negatives))
            scores = tuple(draw.gauss(0.0, 1.0) for _ in passages)
            examples.append(Example(self._text(draw, case.query_tokens), passages, scores, frozenset(passages[:1])))
        collator = Collator(self._tokenizer, self._pad_id, n_chunks=1, needs_scores=True, words=None)
        return collator(examples).to(torch.device(case.device))

    def forward(self, model: RetrievalModel, batch: RetrievalBatch) -> Tensor:
        """The loss, with what its backward needs."""
        with torch.autocast(self.case.device, torch.bfloat16) if self.case.bf16 else nullcontext():
            queries, passages, _ = model(batch.chunks[0])
        return self.objective(queries, passages, batch, step=0).loss

    def step(self, model: RetrievalModel, batch: RetrievalBatch) -> None:
        """Forward, backward, clipping and optimiser, as the trainer does."""
        self.forward(model, batch).backward()
        nn.utils.clip_grad_norm_(self.learning, 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def gradients(self, model: RetrievalModel, batch: RetrievalBatch) -> tuple[float, list[Tensor]]:
        """The loss and the gradient of everything that learns."""
        loss = self.forward(model, batch)
        loss.backward()
        found = [torch.zeros(()) if one.grad is None else one.grad.detach().float().cpu() for one in self.learning]
        self.optimiser.zero_grad(set_to_none=True)
        return loss.item(), found

    def active(self, batch: RetrievalBatch) -> float:
        """Active latents of a passage, mean."""
        with torch.no_grad(), torch.autocast(self.case.device, torch.bfloat16) if self.case.bf16 else nullcontext():
            passages = self.fused(batch.chunks[0]).passages
        return float((passages > 0).sum()) / len(passages)

    def _text(self, draw: random.Random, tokens: int) -> str:
        return " ".join(draw.choices(self._words, k=tokens))

    def _states(self, backbone: Backbone) -> PackedStates:
        """Hidden states of some passages, which the head is fitted to."""
        part = self.batch(queries=4).chunks[0].passages.parts[0]
        with torch.no_grad():
            return pack(backbone(part.input_ids, part.attention_mask), part.pooled)


def _backbone(case: Case) -> Backbone:
    if case.model == "minilm":
        return Backbone.load(MINILM.model_id, layer=case.layer, device=case.device)
    settings = LLAMA if case.model == "llama" else TOY_LLAMA
    with torch.device(case.device):
        skeleton: Any = build_skeleton(settings, "keep", torch.bfloat16 if case.bf16 else torch.float32)
        for parameter in skeleton.parameters():
            if parameter.ndim > 1:
                parameter.data.normal_(std=0.02)
    skeleton.norm = nn.Identity()
    make_bidirectional(skeleton)
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(settings))
        _write_tokenizer(Path(folder), settings["vocab_size"])
        backbone = Backbone(
            skeleton.to(case.device),
            Checkpoint(folder),
            settings,
            layer=settings["num_hidden_layers"] - 1,
            bidirectional=True,
            output="residual",
            window="keep",
            max_length=settings["max_position_embeddings"],
            stored={},
            model_id="Llama's shape, random weights",
            adapter=None,
        )
        rust_tokenizer(backbone)  # read while it is there
    return backbone


def _write_tokenizer(folder: Path, size: int) -> None:
    """Words of four letters, a token each."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[END]", *map("".join, islice(product(string.ascii_lowercase, repeat=4), size - 1))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[END]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="[END]").save_pretrained(folder)


def _head(case: Case, backbone: Backbone, states: PackedStates) -> LinearHead:
    """Random directions about the states' mean, or the embedding; threshold or bias let `nonzeros` latents fire."""
    hidden = states.hidden.float()
    transform: nn.Module = nn.Identity()
    if case.gate == "vocabulary":
        transform = MaskedLMTransform(backbone.d_model, "gelu", 1e-12).to(case.device)
        with torch.no_grad():
            hidden = transform(hidden)
        weight: Tensor = backbone.model.get_parameter("embeddings.word_embeddings.weight")
    else:
        spread = float((hidden - hidden.mean(0)).std()) * backbone.d_model**0.5
        weight = torch.randn(case.latents, backbone.d_model, device=case.device, dtype=backbone.dtype) / spread
    # [latents]; a matrix-vector product in the weight's own dtype, since a float32 copy of it would be gigabytes
    bias = -(weight.detach() @ hidden.mean(0).to(weight.dtype)).float()
    gate: Activation = TopK(case.k) if case.gate == "topk" else ReLU()
    if case.gate != "topk":
        with torch.no_grad():
            every = LinearHead(weight.detach(), bias, ReLU(), saturation="none")
            maxima = pool(hidden, states.offsets, every).weights  # [texts, latents]
        cut = maxima.flatten().topk(case.nonzeros * len(maxima)).values[-1]
        if case.gate == "jumprelu":
            gate = JumpReLU(cut[None])
        else:
            bias = bias - cut
    return LinearHead(weight, bias, gate, transform=transform)
