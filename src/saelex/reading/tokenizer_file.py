"""tokenizer.json, as the tokenizers library reads it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from saelex.reading.regular import one_error, regular_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a file. Raises InputError where it is missing, damaged or none."""
    from tokenizers import Tokenizer

    regular_file(path)
    with one_error(path, "a readable tokenizer"):
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.encode("a text")  # a part that names what is not there shows only now
        return tokenizer
