"""Texts to vectors, for engines and clients elsewhere."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response

from saelex.encoder.settings import Side
from saelex.errors import InputError
from saelex.server.answers import json_response, vector_json
from saelex.server.library import Served
from saelex.server.problems import Problem
from saelex.server.routes.common import AllIndexes, Named, json_only, problems
from saelex.server.schemas import EmbedSparseRequest, EncodeAnswer, EncodeRequest, SparseValue

router = APIRouter(tags=["vectors"])


@router.post(
    "/v1/{index}/encode", response_model=EncodeAnswer, responses=problems(415), dependencies=[Depends(json_only)]
)
async def encode(served: Named, asked: EncodeRequest) -> Response:
    """Vectors of texts over the latents of the index's encoder, as it searches (query) or stores them (document)."""
    encoded = await served.encoding.encode(asked.texts, asked.side)
    vectors = [vector_json(row) for row in encoded.rows]
    return json_response({"vectors": vectors, "latents": served.index.n_latents})


@router.post(
    "/v1/{index}/embed_sparse", response_model=list[list[SparseValue]], responses=problems(415),
    dependencies=[Depends(json_only)],
)  # fmt: skip
async def embed_sparse(served: Named, asked: EmbedSparseRequest) -> Response:
    """The same in the form of text-embeddings-inference: a list of `{"index", "value"}` for each input."""
    texts = [asked.inputs] if isinstance(asked.inputs, str) else asked.inputs
    side: Side = asked.prompt_name or "document"
    if not asked.truncate:
        await served.work.run(lambda: _check_whole(served, texts, side))
    encoded = await served.encoding.encode(texts, side)
    vectors = map(vector_json, encoded.rows)
    return json_response(
        [[{"index": i, "value": value} for i, value in zip(row["indices"], row["values"])] for row in vectors]
    )


@router.post("/v1/embeddings", status_code=501, response_model=None, responses=problems(501))
async def embeddings(library: AllIndexes) -> Response:
    """Refused: there are no dense vectors here."""
    name = next(iter(library.served))
    raise Problem(
        501,
        "saelex has no dense embeddings: its vectors are sparse, one weight for each concept that fires; "
        f"POST /v1/{name}/embed_sparse gives them",
    )


def _check_whole(served: Served, texts: list[str], side: Side) -> None:
    """Raises Problem (413) for a text that the encoder does not read to its end, as far as its tokens tell."""
    for i, text in enumerate(texts):
        try:
            spans = served.encoding.encoder.token_spans(text, side)
        except InputError:  # it is said when the text is encoded
            return
        read = max((end for _, end in spans), default=0)
        if text[read:].strip():
            raise Problem(413, f"input {i + 1} has more tokens than the encoder reads; cut it, or send truncate: true")
