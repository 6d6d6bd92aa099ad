"""Top-K on a command line and in tables: latents kept of a query and of a document."""

from __future__ import annotations

from saelex.evaluation.encoded import TopK


def cut_name(top_k: TopK) -> str:
    return "/".join(str(k or "all") for k in top_k)


def read_cut(text: str) -> TopK:
    """40/400, or all/all."""
    query, _, document = text.partition("/")
    top_k = tuple(None if part == "all" else int(part) for part in (query, document))
    if any(k is not None and k < 1 for k in top_k):
        raise ValueError(text)
    return top_k[0], top_k[1]
