"""The bodies of requests and answers. A field that is not known is an error: what is ignored would be no answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from saelex.encoder.settings import Side
from saelex.index.request import Mode, SearchOptions
from saelex.server.settings import (
    MOST_CHARACTERS,
    MOST_EXPLAINED,
    MOST_HITS,
    MOST_HITS_OF_BATCH,
    MOST_NAMES,
    MOST_SNIPPET_WORDS,
    MOST_TEXTS,
)

Text = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]
Names = Annotated[list[Annotated[str, Field(min_length=1, max_length=500)]], Field(max_length=MOST_NAMES)]
Where = Annotated[dict[str, Any], Field(max_length=MOST_NAMES)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


# ---- asked ----------------------------------------------------------------------------------------------------------


class Options(_Strict):
    """What every search takes."""

    mode: Mode = Field("exact", description="`capped` and `two_step` are for indexes made with `--pruned`.")
    boost: Names = Field([], description="Concepts to count more: label words, id or `word:NAME`, `=` a factor.")
    ban: Names = Field([], description="Concepts that must not count.")
    add: Names = Field([], description="Concepts to put into the query, `=` a weight.")
    where: Where | None = Field(None, description="What a document's metadata must be.", examples=[{"lang": "en"}])
    words: bool = Field(True, description="Match exact words beside concepts.")
    language: str | None = Field(None, max_length=20, description="Of labels; `null`: the query's own.")

    def search_options(self) -> SearchOptions:
        """As `Index.search` takes them."""
        return {
            "mode": self.mode, "boost": self.boost, "ban": self.ban, "add": self.add, "where": self.where,
            "words": self.words, "language": self.language,
        }  # fmt: skip


class Shown(Options):
    """What is shown of each hit."""

    k: int = Field(10, ge=1, le=MOST_HITS, description="Number of hits.")
    explain: bool = Field(False, description=f"Say why; for at most {MOST_EXPLAINED} hits of a request.")
    highlight: int | None = Field(
        None, ge=1, le=MOST_SNIPPET_WORDS, description="Words of a snippet of each hit; `null`: none."
    )

    @property
    def explains(self) -> bool:
        return self.explain or self.highlight is not None


class Vector(_Strict):
    """A sparse vector: latents, and words' dimensions after them."""

    indices: list[Annotated[int, Field(ge=0, lt=2**31)]]
    values: list[Annotated[float, Field(allow_inf_nan=False)]]

    @model_validator(mode="after")
    def _fits(self) -> Vector:
        if len(self.indices) != len(self.values):
            raise ValueError(f"{len(self.indices)} indices for {len(self.values)} values; give one for each")
        if len(set(self.indices)) != len(self.indices):
            raise ValueError("an index is there twice; add its values up")
        return self


class SearchRequest(Shown):
    """One query: its text, or its vector."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "how do wings create lift?", "k": 3, "explain": True},
                {"query": "a bank", "boost": ["money=2"], "ban": ["river"], "where": {"lang": "en"}, "highlight": 40},
            ]
        }
    )
    query: Text | None = None
    vector: Vector | None = None
    text: Text | None = Field(None, description="What the vector is of: its words are matched, and shown in reasons.")

    @model_validator(mode="after")
    def _one(self) -> SearchRequest:
        if (self.query is None) == (self.vector is None):
            raise ValueError("give a query, or a vector in its place")
        if self.text is not None and self.vector is None:
            raise ValueError("text is what a vector is of; a query is its own text")
        if self.explains and self.k > MOST_EXPLAINED:
            raise ValueError(f"explain and highlight are for at most {MOST_EXPLAINED} hits; ask for fewer (k)")
        return self


class BatchRequest(Shown):
    """Many queries with the same options."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"queries": ["wing lift", "zip archive"], "k": 5}]})
    queries: list[Text] = Field(min_length=1, max_length=MOST_TEXTS)

    @model_validator(mode="after")
    def _bounded(self) -> BatchRequest:
        most = MOST_EXPLAINED if self.explains else MOST_HITS_OF_BATCH
        if len(self.queries) * self.k > most:
            raise ValueError(f"{len(self.queries)} queries with k={self.k} are more than {most} hits; ask for fewer")
        return self


class ExplainRequest(Options):
    """One query and one document, whatever its rank."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"query": "wing lift", "id": "184"}]})
    query: Text
    id: str = Field(min_length=1, max_length=2000)
    highlight: int | None = Field(None, ge=1, le=MOST_SNIPPET_WORDS)


class EncodeRequest(_Strict):
    """Texts to vectors over the latents, without words."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"texts": ["a wing"], "side": "document"}]})
    texts: list[str] = Field(min_length=1, max_length=MOST_TEXTS)
    side: Side = "query"


class EmbedSparseRequest(_Strict):
    """As text-embeddings-inference takes it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": ["a wing"], "prompt_name": "query"}]})
    inputs: str | Annotated[list[str], Field(min_length=1, max_length=MOST_TEXTS)]
    truncate: bool | None = Field(None, description="Cut texts that are too long; else they are refused (413).")
    prompt_name: Side | None = Field(None, description="Of which side the texts are; `null`: `document`.")


class DocumentBody(BaseModel):
    """A document; fields beside these are its metadata."""

    model_config = ConfigDict(extra="allow", strict=True)
    id: str = Field(min_length=1, max_length=2000)
    text: str
    title: str = ""

    @model_validator(mode="after")
    def _has_text(self) -> DocumentBody:
        if not self.id.strip():
            raise ValueError("an id is not blank")
        if not f"{self.title} {self.text}".strip():
            raise ValueError(f"document {self.id!r:.100} is empty; leave it out or give it a text")
        return self


class AddRequest(_Strict):
    """Documents to add; with `update` in place of those that have the same ids."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"documents": [{"id": "1", "text": "A wing creates lift.", "lang": "en"}]}]}
    )
    documents: list[DocumentBody] = Field(min_length=1, max_length=MOST_TEXTS)
    update: bool = False

    @model_validator(mode="after")
    def _different(self) -> AddRequest:
        seen: set[str] = set()
        for document in self.documents:
            if (name := document.id.strip()) in seen:
                raise ValueError(f"document id {name!r:.100} comes twice; ids must be unique")
            seen.add(name)
        return self


class DeleteRequest(_Strict):
    """Documents to delete, all or none."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ids": ["1", "2"]}]})
    ids: list[Annotated[str, Field(min_length=1, max_length=2000)]] = Field(min_length=1, max_length=MOST_TEXTS)


# ---- answered: for the OpenAPI document; the values are made in `answers` and `library` ----------------------------


class FieldAnswer(BaseModel):
    """What documents have in one metadata field. values: `null` where they are too many to list."""

    name: str
    kinds: list[Literal["string", "number", "boolean", "null"]]
    values: list[str | float | bool] | None


class IndexAnswer(BaseModel):
    """What an index is and holds."""

    name: str
    documents: int
    passages: int
    latents: int
    encoder: str
    fingerprint: str
    words: bool
    language: str
    labels: bool
    label_languages: list[str]
    forward: bool
    pruned: bool
    writable: bool
    fields: list[FieldAnswer]


class IndexesAnswer(BaseModel):
    indexes: list[IndexAnswer]
    version: str


class MarkAnswer(BaseModel):
    """Characters [start, end) of a text, in Unicode code points. rows: of the explanation, the heaviest first."""

    start: int
    end: int
    rows: list[int]


class RowAnswer(BaseModel):
    """What the latents of one label, or one exact word, add to a score."""

    label: str
    latents: list[int]
    word: bool
    contribution: float
    query_words: list[str]
    document_words: list[str]
    query_context: list[str]
    document_context: list[str]
    note: str


class PassageAnswer(BaseModel):
    """Characters of the document's title, a space and its text."""

    start: int
    end: int


class SnippetAnswer(BaseModel):
    text: str
    marks: list[MarkAnswer]


class HitAnswer(BaseModel):
    """A found document with its best passage. The contributions of its explanation sum to the score."""

    rank: int
    id: str
    score: float
    title: str
    text: str
    url: str | None
    metadata: dict[str, Any]
    passage: PassageAnswer
    explanation: list[RowAnswer] | None = None
    query_marks: list[MarkAnswer] | None = None
    text_marks: list[MarkAnswer] | None = None
    snippet: SnippetAnswer | None = None


class TookAnswer(BaseModel):
    """Milliseconds in each stage."""

    queue: float
    encode: float
    search: float
    explain: float


class SearchAnswer(BaseModel):
    query: str
    hits: list[HitAnswer]
    banned: list[str]
    took_ms: TookAnswer


class BatchHits(BaseModel):
    query: str
    hits: list[HitAnswer]


class BatchAnswer(BaseModel):
    results: list[BatchHits]


class DocumentAnswer(BaseModel):
    id: str
    title: str
    text: str
    url: str | None
    metadata: dict[str, Any]


class AddAnswer(BaseModel):
    """added: new ones. updated: in place of others."""

    added: int
    updated: int


class DeleteAnswer(BaseModel):
    deleted: int


class SpanAnswer(BaseModel):
    start: int
    end: int


class FiredAnswer(BaseModel):
    """A concept that fires in a text."""

    latent: int
    label: str
    weight: float
    words: list[str]
    context: list[str]
    density: float
    marks: list[SpanAnswer]


class ConceptsAnswer(BaseModel):
    text: str
    side: Side
    concepts: list[FiredAnswer]


class NamedAnswer(BaseModel):
    latent: int
    label: str
    density: float


class NamedConceptsAnswer(BaseModel):
    concepts: list[NamedAnswer]


class NearAnswer(BaseModel):
    latent: int
    label: str
    similarity: float


class ConceptAnswer(BaseModel):
    """All that is known of one latent."""

    latent: int
    label: str
    density: float
    concept: dict[str, Any] | None
    page: str | None
    neighbours: list[NearAnswer]
    fires_with: list[NearAnswer]


class VectorAnswer(BaseModel):
    indices: list[int]
    values: list[float]


class EncodeAnswer(BaseModel):
    vectors: list[VectorAnswer]
    latents: int


class SparseValue(BaseModel):
    index: int
    value: float


class StatusAnswer(BaseModel):
    status: str


class ProblemAnswer(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
