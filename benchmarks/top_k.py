"""Top-K on a command line and in tables: latents kept of a query and of a document."""

from __future__ import annotations

from argparse import ArgumentTypeError

from saelex.errors import InputError
from saelex.evaluation.encoded import TopK
from saelex.top_k import Cut, shown


def cut_name(top_k: TopK) -> str:
    return "/".join(map(shown, top_k))


def read_cut(text: str) -> TopK:
    """40/400, 40+80%/400 or all/all."""
    query, _, document = text.partition("/")
    top_k = tuple(None if part == "all" else int(part) if part.isdecimal() else part for part in (query, document))
    try:
        for k in top_k:
            if k is not None:
                Cut.read(k, others="all")
    except InputError as error:
        raise ArgumentTypeError(str(error)) from error
    return top_k[0], top_k[1]
