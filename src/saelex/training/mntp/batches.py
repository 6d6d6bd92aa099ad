"""Texts as token ids in memory, and the order in which a run sees them: the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from saelex.encoder.batching import token_budget_batches, windows
from saelex.encoder.tokens import TextTokenizer, TokenizedText
from saelex.errors import InputError
from saelex.progress import progress_bar
from saelex.training.mntp.masking import MaskedBatch, Masking

_TEXTS_AT_ONCE = 1024
_WINDOW = 4096  # texts that are sorted by length together: enough for full batches, few enough to mix


class TokenBank:
    """Token ids of many texts, 5 bytes a token."""

    def __init__(self, texts: Iterable[TokenizedText]) -> None:
        ids, pooled, lengths = [np.empty(0, np.int32)], [np.empty(0, np.bool_)], []
        for text in texts:
            ids.append(text.ids.astype(np.int32))
            pooled.append(text.pooled)
            lengths.append(len(text.ids))
        self.lengths = np.array(lengths, np.int64)  # [texts]
        self._ids, self._pooled = np.concatenate(ids), np.concatenate(pooled)  # [tokens] each
        self._offsets = np.concatenate([[0], np.cumsum(self.lengths)])  # [texts + 1]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, number: int) -> TokenizedText:
        part = slice(self._offsets[number], self._offsets[number + 1])
        return TokenizedText(self._ids[part].astype(np.int64), self._pooled[part])


def read_tokens(
    texts: Iterable[str], tokenizer: TextTokenizer, masking: Masking, most_tokens: int | None, *, progress: bool
) -> TokenBank:
    """Tokenise texts until there are `most_tokens` tokens; None reads all. Texts without a token to mask are left out.

    Raises InputError where nothing is left.
    """

    def tokenized() -> Iterator[TokenizedText]:
        seen = 0
        with progress_bar(desc="tokens", unit="tok", unit_scale=True, shown=progress) as bar:
            for window in windows(texts, _TEXTS_AT_ONCE):
                for text in tokenizer.tokenize(window, "document"):
                    if masking.candidates(text).any():
                        yield text
                        seen += len(text.ids)
                        bar.update(len(text.ids))
                        if most_tokens is not None and seen >= most_tokens:
                            return

    bank = TokenBank(tokenized())
    if not len(bank):
        raise InputError("the texts gave no token to mask; check that the corpora hold text")
    return bank


def split_heldout(n_texts: int, wanted: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the texts to train on and of those held out: `wanted` of them, at most a tenth, in ascending order."""
    order = np.random.default_rng((seed, 1)).permutation(n_texts)
    held = min(wanted, n_texts // 10)
    return np.sort(order[held:]), np.sort(order[:held])


def endless_batches(
    lengths: NDArray[np.int64], budget: int, most_texts: int | None, seed: int
) -> Iterator[NDArray[np.int64]]:
    """Numbers of the texts of one batch after the other: every pass is a new order, batches have similar lengths."""
    for number in count():
        generator = np.random.default_rng((seed, 2, number))
        order = generator.permutation(len(lengths))
        batches = [
            order[start : start + _WINDOW][which]
            for start in range(0, len(order), _WINDOW)
            for which in token_budget_batches(lengths[order[start : start + _WINDOW]].tolist(), budget, most_texts)
        ]
        for place in generator.permutation(len(batches)):
            yield batches[place]


def plan_run(
    lengths: NDArray[np.int64],
    *,
    budget: int,
    most_texts: int | None,
    seed: int,
    per_step: int,
    steps: int | None,
    tokens: int | None,
) -> list[NDArray[np.int64]]:
    """All batches of a run, `per_step` for each optimiser step: so many steps or tokens, or one pass over the texts."""
    stop_at = tokens if tokens is not None else int(lengths.sum())
    plan: list[NDArray[np.int64]] = []
    seen = 0
    for batch in endless_batches(lengths, budget, most_texts, seed):
        if len(plan) % per_step == 0 and (seen >= stop_at if steps is None else len(plan) == steps * per_step):
            break
        plan.append(batch)
        seen += int(lengths[batch].sum())
    return plan


class MaskedBatches(Dataset[MaskedBatch]):
    """The run's batches, masked as they are asked for: item i depends on the texts, the seed and i alone."""

    def __init__(self, bank: TokenBank, batches: Sequence[NDArray[np.int64]], masking: Masking, seed: int) -> None:
        self.bank = bank
        self.batches = batches
        self.masking = masking
        self.seed = seed

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> MaskedBatch:
        generator = np.random.default_rng((self.seed, 3, index))
        return self.masking([self.bank[int(number)] for number in self.batches[index]], generator)

    @property
    def tokens(self) -> int:
        """Of all batches, without padding."""
        return int(sum(self.bank.lengths[batch].sum() for batch in self.batches))
