"""Concepts: which fire in a text, which a name may mean, and all that is known of one."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from saelex.concepts.marks import marks_of
from saelex.encoder.settings import Side
from saelex.index.request import check_query
from saelex.server.answers import json_response
from saelex.server.library import Served
from saelex.server.problems import Problem, not_found
from saelex.server.routes.common import Named, problems
from saelex.server.schemas import ConceptAnswer, ConceptsAnswer, NamedConceptsAnswer
from saelex.server.settings import MOST_CHARACTERS
from saelex.vectors import SparseRows

router = APIRouter(tags=["concepts"])
_MOST_NAMED = 20

Asked = Annotated[str | None, Query(min_length=1, max_length=MOST_CHARACTERS)]
Language = Annotated[str | None, Query(max_length=20, description="Of the labels; unless given, the text's own.")]


@router.get(
    "/v1/{index}/concepts", response_model=ConceptsAnswer | NamedConceptsAnswer, responses=problems(),
)  # fmt: skip
async def concepts(
    served: Named, text: Asked = None, name: Asked = None, side: Side | None = None, language: Language = None
) -> Response:
    """The concepts that fire in `text`, heaviest first; or up to 20 whose label has a word that begins with `name`."""
    if (text is None) == (name is None):
        raise Problem(400, "give text (what fires in it) or name (which concepts are called so), one of them")
    if name is not None:
        if side is not None:
            raise Problem(400, "side is of a text; leave it out")
        return json_response({"concepts": await served.work.run(lambda: _named(served, name, language))})
    assert text is not None
    check_query(text)
    as_side: Side = side or "query"
    encoded = await served.encoding.encode([text], as_side)
    fired = await served.work.run(lambda: _fired(served, text, as_side, language, encoded.rows[0]))
    return json_response({"text": text, "side": as_side, "concepts": fired})


@router.get("/v1/{index}/concepts/{latent}", response_model=ConceptAnswer, responses=problems())
async def concept(served: Named, latent: int, language: Language = None) -> Response:
    """All that is known of one concept: label, evidence, examples, density, neighbours and company."""
    if not 0 <= latent < served.index.n_latents:
        raise not_found(f"no latent {latent!s:.20}; they run from 0 to {served.index.n_latents - 1}")
    view = await served.work.run(lambda: served.index.concept(latent, language=language))
    return json_response(view.to_json())


def _fired(served: Served, text: str, side: Side, language: str | None, row: SparseRows) -> list[dict[str, Any]]:
    fired = served.index.concepts_in(text, side=side, language=language, vector=row)
    marks: list[list[dict[str, int]]] = [[] for _ in fired]
    for start, end, rows in marks_of(text, [(*one.words, *one.context) for one in fired]):
        for i in rows:
            marks[i].append({"start": start, "end": end})
    return [{**one._asdict(), "marks": places} for one, places in zip(fired, marks)]


def _named(served: Served, name: str, language: str | None) -> list[dict[str, Any]]:
    index, number = served.index, name.strip().lstrip("#")
    latents = [int(number)] if number.isdecimal() and len(number) < 10 and int(number) < index.n_latents else []
    store = index.concepts
    if store is not None:
        latents += store.led_by(name, _MOST_NAMED)
        latents += store.find(name, _MOST_NAMED)
    latents = list(dict.fromkeys(latents))[:_MOST_NAMED]
    shares = index.densities(latents)
    label = index.encoder.label if store is None else lambda latent: store.label(latent, language)
    return [{"latent": one, "label": label(one), "density": share} for one, share in zip(latents, shares)]
