"""transformers' own tokenizer of a model's files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saelex.encoder.backbone.checkpoint import Checkpoint
from saelex.errors import InputError
from saelex.hub import asking_hub
from saelex.loading import without_own_code
from saelex.reading.regular import one_error

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def hugging_face_tokenizer(files: Checkpoint) -> PreTrainedTokenizerFast:
    """The fast tokenizer, padding on the right. Raises InputError where the files hold none that transformers reads."""
    from transformers import AutoTokenizer

    with (
        without_own_code(files.model_id),
        one_error(files.model_id, "a model with a readable tokenizer"),
        asking_hub(files.model_id),
    ):
        tokenizer = AutoTokenizer.from_pretrained(files.model_id, **files.loading.pretrained)
        tokenizer("a text")  # a setting of the wrong type shows only now
    if not tokenizer.is_fast:
        raise InputError(f"{files.model_id} has no fast tokenizer (tokenizer.json), which character spans need")
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:  # Llama and Mistral have none; padding is masked, so any token will do
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
