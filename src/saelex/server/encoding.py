"""Texts of concurrent requests to vectors: encoded together by token budget; those of queries are kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from saelex.encoder.settings import Side
from saelex.errors import SaelexError
from saelex.index.text_encoder import TextEncoder
from saelex.server.metrics import Metrics
from saelex.server.queue import Batcher
from saelex.server.settings import Settings
from saelex.vectors import SparseRows

_PADDED = 1024  # tokens of one forward pass: more fill no core better, and short texts are padded to the longest


class Encoded(NamedTuple):
    """rows: one of [1, latents] for each text. queued, encoded: seconds, of the text that took longest."""

    rows: list[SparseRows]
    queued: float
    encoded: float


@dataclass(eq=False)
class _Text:
    text: str
    side: Side
    tokens: int | None = None


class Encoding:
    """One encoder and the texts that wait for it.

    Equal texts of one request have equal vectors, bit by bit; so have equal queries as long as they are kept.
    """

    def __init__(self, encoder: TextEncoder, name: str, settings: Settings, metrics: Metrics) -> None:
        self.encoder = encoder
        self._budget = settings.batch_tokens
        self._metrics = metrics
        self._most_kept = settings.cached_queries
        self._kept: OrderedDict[str, SparseRows] = OrderedDict()  # the event loop's alone
        self.queue: Batcher[_Text, SparseRows] = Batcher(
            self._work,
            name=f"encode-{name}",
            most=settings.queue,
            wait=settings.batch_wait,
            batched=metrics.batched("encode"),
        )

    async def encode(self, texts: Sequence[str], side: Side) -> Encoded:
        """Vectors of texts. Raises QueueFullError, and InputError for what cannot be encoded."""
        known = {text: row for text in texts if side == "query" and (row := self._found(text)) is not None}
        new = [text for text in dict.fromkeys(texts) if text not in known]
        done = await self.queue.submit([_Text(text, side) for text in new])
        for text, made in zip(new, done):
            known[text] = made.value
            if side == "query":
                self._keep(text, made.value)
        queued, encoded = max((one.queued for one in done), default=0.0), max((one.worked for one in done), default=0.0)
        if done:
            self._metrics.stage("queue", queued)
            self._metrics.stage("encode", encoded)
        return Encoded([known[text] for text in texts], queued, encoded)

    def _found(self, text: str) -> SparseRows | None:
        row = self._kept.get(text)
        self._metrics.cached(row is not None)
        if row is not None:
            self._kept.move_to_end(text)
        return row

    def _keep(self, text: str, row: SparseRows) -> None:
        self._kept[text] = row
        while len(self._kept) > self._most_kept:
            self._kept.popitem(last=False)

    # ---- in the queue's thread --------------------------------------------------------------------------------------

    def _work(self, waiting: Sequence[_Text]) -> list[SparseRows | Exception]:
        """Vectors of the first ones, as many as the token budget holds."""
        batch: list[_Text] = []
        tokens = 0
        for one in waiting:
            tokens += self._tokens(one)
            if batch and tokens > self._budget:
                break
            batch.append(one)
        made: dict[tuple[str, Side], SparseRows | Exception] = {}
        for side in ("query", "document"):
            lengths = {one.text: self._tokens(one) for one in batch if one.side == side}
            for texts in _of_like_length(lengths):
                made.update(zip([(text, side) for text in texts], self._rows(texts, side)))
        return [made[one.text, one.side] for one in batch]

    def _tokens(self, one: _Text) -> int:
        if one.tokens is None:
            try:
                one.tokens = len(self.encoder.token_spans(one.text, one.side))
            except SaelexError:  # it is said when the text is encoded
                one.tokens = 0
        return one.tokens

    def _rows(self, texts: list[str], side: Side) -> list[SparseRows] | list[Exception] | list[SparseRows | Exception]:
        """A row each. Where one text cannot be encoded the others still are."""
        encode = self.encoder.encode_query if side == "query" else self.encoder.encode_document
        try:
            rows = encode(texts)
        except Exception as error:
            return [error] if len(texts) == 1 else [row for text in texts for row in self._rows([text], side)]
        return [rows[i] for i in range(len(texts))]


def _of_like_length(lengths: Mapping[str, int]) -> Iterator[list[str]]:
    """Texts in parts that are padded little: the longest first, until the part has so many tokens with padding."""
    part: list[str] = []
    for text in sorted(lengths, key=lambda text: -lengths[text]):
        if part and lengths[part[0]] * (len(part) + 1) > _PADDED:
            yield part
            part = []
        part.append(text)
    if part:
        yield part
