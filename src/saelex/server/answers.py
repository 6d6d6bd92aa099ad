"""Hits, reasons and vectors as the JSON values that the API answers with."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from fastapi import Response

from saelex.concepts.concept import WORD_PREFIX
from saelex.concepts.explanation import Contribution
from saelex.concepts.marks import Mark, document_marks, query_marks
from saelex.index.hits import Hit
from saelex.vectors import SparseRows


def json_response(value: Any, status: int = 200) -> Response:
    """One JSON value as it is."""
    try:
        body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half a surrogate pair, which an index may hold
        body = json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    return Response(body, status, media_type="application/json")


def hits_json(hits: Sequence[Hit], *, explain: bool, highlight: int | None, until: float) -> list[dict[str, Any]]:
    """Hits as JSON values. highlight: words of the snippet; None for none.

    Raises TimeoutError when the clock (`time.monotonic`) is beyond `until`: nobody waits any more.
    """
    values = []
    for hit in hits:
        if time.monotonic() > until:
            raise TimeoutError
        values.append(hit_json(hit, explain=explain, highlight=highlight))
    return values


def hit_json(hit: Hit, *, explain: bool, highlight: int | None) -> dict[str, Any]:
    """One hit as JSON values; its marks name the rows of its explanation by label."""
    values: dict[str, Any] = {
        "rank": hit.rank,
        "id": hit.id,
        "score": hit.score,
        "title": hit.document.title,
        "text": hit.text,
        "url": hit.url,
        "metadata": dict(hit.document.metadata),
        "passage": {"start": hit.passage.start, "end": hit.passage.end},
    }
    if not explain and highlight is None:
        return values
    why = hit.explain()
    if explain:
        values["explanation"] = [_row(row) for row in why.by_label]
        values["query_marks"] = marks_json(query_marks(why))
        values["text_marks"] = marks_json(document_marks(hit.text, why))
    if highlight is not None:
        snippet = hit.snippet(highlight, explanation=why)
        values["snippet"] = {"text": snippet.text, "marks": marks_json(snippet.marks)}
    return values


def marks_json(marks: Sequence[Mark]) -> list[dict[str, Any]]:
    """Characters of a text and the rows that they are of."""
    return [{"start": mark.start, "end": mark.end, "rows": list(mark.rows)} for mark in marks]


def vector_json(row: SparseRows) -> dict[str, Any]:
    """A row of one text."""
    return {"indices": row.latents.tolist(), "values": row.weights.tolist()}


def milliseconds(seconds: float) -> float:
    """As answers tell them."""
    return round(1000 * seconds, 3)


def _row(row: Contribution) -> dict[str, Any]:
    return {
        "label": row.label,
        "latents": list(row.latents or (row.latent,)),
        "word": row.label.startswith(WORD_PREFIX),
        "contribution": row.contribution,
        "query_words": row.query_words,
        "document_words": row.document_words,
        "query_context": row.query_context,
        "document_context": row.document_context,
        "note": row.note,
    }
