from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from itertools import combinations, pairwise
from math import log2

import numpy as np
import pytest
import torch
from scipy import sparse
from tests.encoder.tiny_encoders import N_LATENTS, random_head, tiny_encoder
from tests.encoder.tiny_models import TEXTS

from saelex.encoder.encoder import Encoder
from saelex.encoder.head import LinearHead
from saelex.sae.activations import JumpReLU, ReLU, TopK
from studies.claims.tokens import _classified, _tokens, anisotropy, latents_of, token_use

KINDS = ("identity", "splitting", "synonymy", "spread")
MANY = [f"{text} {extra}" for extra in ("", "air", "bank wing") for text in TEXTS] + [" "]
"""More than one batch of `_tokens`, and a blank one."""


def kind_of(times: dict[int, int], occurrences: dict[int, int]) -> str:
    """The definitions of `TokenUse`, in plain Python. times: token -> how often it activated the latent."""
    total = sum(times.values())
    first = max(sorted(times), key=lambda token: times[token])
    if times[first] / total >= 0.5:
        return "identity" if times[first] / occurrences[first] >= 0.5 else "splitting"
    sure = [token for token in times if occurrences[token] >= 5 and times[token] / occurrences[token] >= 0.5]
    return "synonymy" if len(sure) >= 2 else "spread"


def entropy_of(times: dict[int, int]) -> float:
    total = sum(times.values())
    return -sum(n / total * log2(n / total) for n in times.values())


def counted(times: dict[int, dict[int, int]], occurrences: dict[int, int]) -> dict[str, float]:
    """times: latent -> token -> count."""
    judged = [of for of in times.values() if sum(of.values()) >= 5]
    kinds = Counter(kind_of(of, occurrences) for of in judged)
    shares = {kind: kinds[kind] / len(judged) for kind in KINDS}
    return shares | {"judged": len(judged), "entropy": sum(map(entropy_of, judged)) / len(judged)}


# ---- hand-made counts -----------------------------------------------------------------------------------------------

OCCURRENCES = [10, 10, 10, 6, 8, 30, 2, 2, 2, 12]
LATENTS = {
    "identity": {0: 8, 1: 2},  # 8 of 10 by token 0, which fires 8 of 10 times
    "identity, at both bounds": {2: 5, 5: 5},  # half by token 2, which fires every second time; of equal ones the first
    "splitting": {0: 4, 2: 1},  # nearly all by token 0, which fires 4 of 10 times
    "synonymy": {3: 4, 4: 4, 5: 3},  # 4 of 6, 4 of 8, and now and then token 5
    "spread, no token sure": {3: 2, 4: 2, 5: 2},
    "spread, one token sure": {3: 4, 5: 4, 9: 4},  # 4 of 6; 4 of 30 and 4 of 12 are not
    "spread, sure tokens too rare": {6: 2, 7: 2, 8: 2},
    "too rare": {3: 2, 4: 2},
    "never active": {},
}


def matrix(latents: list[dict[int, int]]) -> sparse.csr_array:
    dense = np.zeros((len(OCCURRENCES), len(latents)), np.int64)
    for latent, times in enumerate(latents):
        for token, n in times.items():
            dense[token, latent] = n
    return sparse.csr_array(dense)


@pytest.mark.parametrize("name", LATENTS)
def test_a_latent_is_of_the_kind_that_its_tokens_make_it(name: str) -> None:
    use = _classified(matrix([LATENTS[name]]), np.array(OCCURRENCES), 1.5, 0.25)
    kind = name.partition(",")[0]
    assert use.judged == int(kind in KINDS)
    assert {one: getattr(use, one) for one in KINDS} == {one: float(one == kind) for one in KINDS}
    assert (use.active, use.max_df) == (1.5, 0.25)
    assert use.entropy == pytest.approx(entropy_of(LATENTS[name]) if kind in KINDS else 0.0)


def test_shares_and_entropy_are_of_the_judged_latents() -> None:
    use = _classified(matrix(list(LATENTS.values())), np.array(OCCURRENCES), 1.5, 0.25)
    wanted = counted(dict(enumerate(LATENTS.values())), dict(enumerate(OCCURRENCES)))
    assert wanted["judged"] == 7
    assert asdict(use) == pytest.approx(wanted | {"active": 1.5, "max_df": 0.25})
    assert (use.identity, use.splitting, use.synonymy, use.spread) == pytest.approx((2 / 7, 1 / 7, 1 / 7, 3 / 7))


# ---- of an encoder --------------------------------------------------------------------------------------------------


def scaled_head(d_model: int) -> LinearHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return random_head(
            d_model, TopK(6), scale=torch.rand(N_LATENTS) + 0.5, transform=torch.nn.Linear(d_model, d_model)
        )


HEADS = {
    "jumprelu": lambda d_model: random_head(d_model),
    "topk": lambda d_model: random_head(d_model, TopK(6)),
    "topk, scaled and transformed": scaled_head,
    "capped": lambda d_model: random_head(d_model, ReLU(), softcap=2.0, saturation="sqrt"),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return tiny_encoder(tmp_path_factory.mktemp("bert"))


def with_head(encoder: Encoder, name: str) -> Encoder:
    return Encoder(encoder.backbone, HEADS[name](encoder.backbone.d_model), encoder.settings)


@pytest.mark.parametrize("name", HEADS)
def test_the_latents_of_tokens_pool_to_what_the_encoder_gives(plain: Encoder, name: str) -> None:
    encoder = with_head(plain, name)
    found = []
    with torch.inference_mode():
        for _, hidden, offsets in _tokens(encoder, MANY):
            latents = latents_of(encoder, hidden)
            for start, end in pairwise(offsets):
                pooled = latents[start:end].amax(0) if end > start else torch.zeros(N_LATENTS)
                found.append(encoder.head.saturate(pooled).numpy())
    wanted = encoder.encode_document(MANY, top_k=None).to_dense()
    assert (wanted > 0).any()
    # before saturation: the square root makes much of the last bits of what is near 0
    undone = {"log1p": np.expm1, "sqrt": np.square}[encoder.head.saturation]
    np.testing.assert_allclose(undone(np.stack(found)), undone(wanted), rtol=1e-4, atol=1e-5)


def states_of(encoder: Encoder) -> list[tuple[list[int], np.ndarray]]:
    """Ids and states [tokens, d_model] of each text's own tokens: no batch, no padding."""
    found = []
    for text in encoder.tokenizer.tokenize(MANY, "document"):
        if len(text.ids):
            with torch.inference_mode():
                hidden = encoder.backbone(torch.from_numpy(text.ids)[None])[0]
            found.append((text.ids[text.pooled].tolist(), hidden[torch.from_numpy(text.pooled)].numpy()))
    return found


def active_at(encoder: Encoder, state: np.ndarray) -> set[int]:
    head = encoder.head
    pre = head.weight.detach().numpy() @ state + head.bias.detach().numpy()
    if isinstance(head.activation, TopK):
        return {int(j) for j in np.argsort(-pre)[: head.activation.k] if pre[j] > 0}
    assert isinstance(head.activation, JumpReLU)
    return set(np.flatnonzero(pre > np.maximum(head.activation.threshold.numpy(), 0)).tolist())


@pytest.mark.parametrize("name", ["jumprelu", "topk"])
def test_use_of_latents_equals_a_count_in_plain_python(plain: Encoder, name: str) -> None:
    encoder = with_head(plain, name)
    times: dict[int, Counter[int]] = {latent: Counter() for latent in range(N_LATENTS)}
    occurrences: Counter[int] = Counter()
    texts_with: Counter[int] = Counter()
    active = 0
    for ids, states in states_of(encoder):
        of_text = set()
        for token, state in zip(ids, states):
            latents = active_at(encoder, state)
            occurrences[token] += 1
            active += len(latents)
            of_text |= latents
            for latent in latents:
                times[latent][token] += 1
        texts_with.update(of_text)
    wanted = counted({latent: dict(of) for latent, of in times.items()}, occurrences)
    wanted |= {"active": active / occurrences.total(), "max_df": max(texts_with.values()) / len(MANY)}
    found = token_use(encoder, MANY)
    assert sum(share > 0 for share in (found.identity, found.splitting, found.synonymy, found.spread)) >= 2
    assert asdict(found) == pytest.approx(wanted)


def test_anisotropy_is_the_mean_cosine_of_all_pairs(plain: Encoder) -> None:
    encoder = with_head(plain, "topk, scaled and transformed")
    states = np.concatenate([states for _, states in states_of(encoder)])
    with torch.inference_mode():
        states = encoder.head.transform(torch.from_numpy(states)).double().numpy()
    cosines = [one @ two / np.linalg.norm(one) / np.linalg.norm(two) for one, two in combinations(states, 2)]
    assert anisotropy(encoder, MANY) == pytest.approx(np.mean(cosines), abs=1e-6)
    assert abs(np.mean(cosines) - anisotropy(plain, MANY)) > 1e-3  # the head's own view, not the backbone's
