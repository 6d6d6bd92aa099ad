"""Text to token ids, with a mark on every token that may activate latents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.backbone.bert_tokenizer import plain_bert_tokenizer
from saelex.encoder.settings import EncoderSettings, Side
from saelex.errors import InputError
from saelex.reading.regular import one_error

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

    from saelex.encoder.backbone.backbone import Backbone
    from saelex.encoder.backbone.stored import StoredBackbone


class TokenizedText(NamedTuple):
    """One text as the backbone reads it: prompt, special tokens and text, cut to the side's length."""

    ids: NDArray[np.int64]  # [tokens]
    pooled: NDArray[np.bool_]  # [tokens]: may activate latents, as far as the token ids tell


_EVERYTHING = 1 << 30  # tokens that no text has
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANK = TokenizedText(np.zeros(0, np.int64), np.zeros(0, np.bool_))


class TextTokenizer:
    """A model's tokenizer with an encoder's prompts, lengths and masks.

    tokenizer: see `rust_tokenizer`.
    limit: most tokens that the backbone takes.
    n_words: rows of the backbone's embedding; a tokenizer's files may know more tokens, which are then refused.
    bare_queries: queries are looked up and not read by a backbone: no special tokens, and no limit but the settings'.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        settings: EncoderSettings,
        limit: int,
        *,
        n_words: int = _EVERYTHING,
        bare_queries: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.settings = settings
        self.limit = limit
        self.n_words = n_words
        self.bare_queries = bare_queries
        self.special_ids = special_ids(tokenizer)
        self._cut = (tokenizer.truncation or {}).get("direction", "right")
        self._lock = Lock()  # the limit is state of the tokenizer, and both sides may encode at once

    def tokenize(self, texts: Sequence[str], side: Side, prompt: str | None = None) -> list[TokenizedText]:
        """Ids and masks of every text; a blank text has no tokens at all, not even the special ones.

        prompt: in place of the side's own. Raises InputError, with its index, for anything that is not a string, and
        for a text with a token that the backbone has no embedding for.
        """
        check_texts(texts)
        prompt = self.settings.prompt(side) if prompt is None else prompt
        written = [i for i, text in enumerate(texts) if text.strip()]
        tokenized = [_BLANK] * len(texts)
        if not written:
            return tokenized
        mask_prompt = bool(prompt) and not self.settings.pool_prompt
        encodings = self._encode([prompt + texts[i] for i in written], side, spans=mask_prompt)
        for i, encoding in zip(written, encodings):
            ids = np.array(encoding.ids, np.int64)
            if ids.max(initial=0) >= self.n_words:
                token = self.tokenizer.id_to_token(int(ids.max()))
                raise InputError(
                    f"a text has the token {token!r:.60}, number {ids.max()}, and the backbone has "
                    f" embeddings for {self.n_words} tokens; tokenizer and weights do not belong together"
                )
            pooled = np.ones(len(ids), np.bool_)
            if self.settings.mask_special_tokens:
                pooled &= ~np.isin(ids, self.special_ids)
            if mask_prompt:
                pooled &= ~_in_prompt(np.array(encoding.offsets, np.int64).reshape(-1, 2), len(prompt))
            tokenized[i] = TokenizedText(ids, pooled)
        return tokenized

    def spans(self, text: str, side: Side) -> list[tuple[int, int]]:
        """Character span in `text` of each of its tokens; (0, 0) for special tokens and for the prompt's."""
        if not text.strip():
            return []
        prompt = len(self.settings.prompt(side))
        offsets = self._encode([self.settings.prompt(side) + text], side, spans=True)[0].offsets
        return [(max(0, start - prompt), end - prompt) if end > prompt else (0, 0) for start, end in offsets]

    def _encode(self, texts: list[str], side: Side, *, spans: bool) -> list[Encoding]:
        bare = self.bare_queries and side == "query"
        most = _EVERYTHING if bare else self.limit
        length = min(self.settings.max_length(side) or most, most)
        frame = 0 if bare else self.tokenizer.num_special_tokens_to_add(False)
        if length < frame:  # the tokenizers library then cuts nothing
            raise InputError(f"at most {length} tokens of a {side} leave no room for the model's {frame} special ones")
        with self._lock, one_error("the model's tokenizer", "one that cuts such texts", "fetch the model again"):
            if self.tokenizer.truncation is None or self.tokenizer.truncation["max_length"] != length:
                self.tokenizer.enable_truncation(length, direction=self._cut)
            encode = self.tokenizer.encode_batch if spans else self.tokenizer.encode_batch_fast
            return encode(texts, add_special_tokens=not bare)


def rust_tokenizer(backbone: Backbone | StoredBackbone) -> Tokenizer:
    """A backbone's tokenizer without transformers' wrapper: not padding, cutting on the side that its files name.

    For BERT it comes straight from tokenizer.json where its other files agree, because importing transformers takes
    longer than a whole search. Raises InputError for a tokenizer that marks tokens as a second text's, which no
    backbone here reads.
    """
    model_type = backbone.settings["model_type"]
    with one_error(backbone.model_id, "a model with a readable tokenizer"):
        tokenizer = plain_bert_tokenizer(backbone.tokenizer_files) if model_type == "bert" else None
        if tokenizer is None:
            tokenizer = backbone.tokenizer.backend_tokenizer
            tokenizer.enable_truncation(backbone.max_length, direction=backbone.tokenizer.truncation_side)
        tokenizer.no_padding()
        types = tokenizer.encode("a").type_ids
    if model_type in ("bert", "xlm-roberta") and any(types):
        raise InputError(f"{backbone.model_id}: its tokenizer gives texts the token type of a second text; mend it")
    return tokenizer


def special_ids(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Ids of the tokens that frame, pad or mask a text. Not the unknown token: it stands for a word."""
    unknown = {getattr(tokenizer.model, "unk_token", None), "<unk>", "[UNK]"}
    added = tokenizer.get_added_tokens_decoder()
    special = [i for i, token in added.items() if token.special and token.content not in unknown]
    return np.array(sorted(special), np.int64)


def check_texts(texts: Sequence[str], start: int = 0) -> None:
    """Raises InputError for the first item that is not a string; `start` is the index of the first item."""
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {start + i} is a {type(text).__name__}, not a string; encode strings")
        if not text.isascii() and _SURROGATE.search(text):
            raise InputError(f"text {start + i} holds half a surrogate pair, not Unicode text; decode it again")


def _in_prompt(spans: NDArray[np.int64], length: int) -> NDArray[np.bool_]:
    """Which tokens [tokens, 2] end within the prompt; one that reaches into the text belongs to the text."""
    ends = spans[:, 1]
    return (ends <= length) & (ends > 0)
