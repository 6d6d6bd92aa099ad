"""Which tokens activate which latents: synonymy and polysemy by P(token | latent) and P(latent | token), anisotropy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from saelex.encoder.batching import pack, pad
from saelex.encoder.encoder import Encoder
from saelex.encoder.pooling.reference import token_latents

_FEWEST = 5  # tokens that a latent is active at, and occurrences of a token, for either to be judged
_MOST = 0.5  # of a conditional probability, from which on one belongs to the other
_TEXTS = 16  # in a batch


@dataclass(frozen=True)
class TokenUse:
    """Latents by what activates them; shares are of the latents that are active at 5 tokens or more.

    active: latents at a token, mean. judged: how many latents are active often enough.
    identity: one token makes up half of the latent's occurrences, and half of that token's activate the latent: a word.
    splitting: one token makes it up, but fewer than half of that token's occurrences activate it: one of its senses.
    synonymy: no single token makes it up, and two or more tokens activate it at half of their occurrences or more.
    spread: none of these.
    entropy: of P(token | latent), in bits, mean. max_df: share of the texts that the most frequent latent is active in.
    """

    active: float
    judged: int
    identity: float
    splitting: float
    synonymy: float
    spread: float
    entropy: float
    max_df: float


@torch.inference_mode()
def token_use(encoder: Encoder, texts: Sequence[str]) -> TokenUse:
    """Of the tokens of these texts, read as passages."""
    counts = sparse.csr_array((len(encoder.tokenizer.tokenizer.get_vocab()), encoder.n_latents), dtype=np.int64)
    occurrences = np.zeros(counts.shape[0], np.int64)
    document_frequency = np.zeros(encoder.n_latents, np.int64)
    active = 0
    for ids, hidden, offsets in _tokens(encoder, texts):
        for start, end in pairwise(offsets):
            rows, latents = latents_of(encoder, hidden[start:end]).nonzero(as_tuple=True)
            own = ids[start:end]
            pairs = own[rows.numpy()], latents.numpy()
            counts = counts + sparse.coo_array((np.ones(len(rows), np.int64), pairs), shape=counts.shape).tocsr()
            occurrences += np.bincount(own, minlength=len(occurrences))
            document_frequency[np.unique(latents.numpy())] += 1
            active += len(rows)
    return _classified(counts, occurrences, active / occurrences.sum(), document_frequency.max() / len(texts))


def _classified(counts: sparse.csr_array, occurrences: np.ndarray, active: float, max_df: float) -> TokenUse:
    """counts: [tokens, latents], how often a token activated a latent; occurrences: [tokens]."""
    of_latent = np.asarray(counts.sum(axis=0)).ravel()  # [latents]
    judged = np.flatnonzero(of_latent >= _FEWEST)
    per_latent = counts.tocsc()[:, judged].tocsc()
    kinds = dict.fromkeys(("identity", "splitting", "synonymy", "spread"), 0)
    entropy = 0.0
    for i in range(len(judged)):
        tokens = per_latent.indices[per_latent.indptr[i] : per_latent.indptr[i + 1]]
        times = per_latent.data[per_latent.indptr[i] : per_latent.indptr[i + 1]]
        of_token = times / times.sum()  # P(token | latent)
        fires = times / occurrences[tokens]  # P(latent | token)
        often = occurrences[tokens] >= _FEWEST
        entropy -= float(of_token @ np.log2(of_token))
        first = int(of_token.argmax())
        if of_token[first] >= _MOST:
            kinds["identity" if fires[first] >= _MOST else "splitting"] += 1
        else:
            kinds["synonymy" if int((often & (fires >= _MOST)).sum()) >= 2 else "spread"] += 1
    n = max(1, len(judged))
    shares = {kind: count / n for kind, count in kinds.items()}
    return TokenUse(active=active, judged=len(judged), entropy=entropy / n, max_df=max_df, **shares)


def latents_of(encoder: Encoder, hidden: Tensor) -> Tensor:
    """[tokens, d_model] -> [tokens, latents] before saturation: what `saelex.encoder.pooling` takes the maximum of."""
    head = encoder.head
    return token_latents(head.transform(hidden).float(), head.weight.float(), head)


@torch.inference_mode()
def anisotropy(encoder: Encoder, texts: Sequence[str]) -> float:
    """Mean cosine of two random tokens' states, as the head reads them (Ethayarajh 2019); 0: directions are even."""
    states = torch.cat([encoder.head.transform(hidden) for _, hidden, _ in _tokens(encoder, texts)])
    units = torch.nn.functional.normalize(states.double(), dim=1)  # [tokens, d_model]
    n = len(units)
    return float((units.sum(0).square().sum() - n) / (n * (n - 1)))


def _tokens(encoder: Encoder, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, Tensor, list[int]]]:
    """Ids, states and the texts' offsets of the tokens that may activate latents, batch by batch."""
    tokenized = encoder.tokenizer.tokenize(texts, "document")
    for start in range(0, len(texts), _TEXTS):
        part = tokenized[start : start + _TEXTS]
        batch = pad(part, encoder.backbone.pad_id)
        packed = pack(encoder.backbone(batch.input_ids, batch.attention_mask), batch.pooled)
        yield np.concatenate([text.ids[text.pooled] for text in part]), packed.hidden, packed.offsets.tolist()
