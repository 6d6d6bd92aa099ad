"""What engines answer to the queries of test collections, as runs that are evaluated beside others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from saelex.errors import InputError

if TYPE_CHECKING:
    from saelex.corpus.collection import Collection
    from saelex.encoder.encoder import Encoder


def write_engine_runs(
    urls: Sequence[str], collections: Sequence[Collection], encoder: Encoder, measures: Sequence[str], folder: Path
) -> dict[str, str]:
    """TREC runs in a folder: SCHEME, that of the URL, for concepts alone, and SCHEME+words; {set} is a collection.

    Raises InputError for two engines of one kind, and for one that holds another number of documents than a collection.
    """
    if not urls:
        return {}
    from saelex.engines.url import EngineUrl

    kinds = [EngineUrl.parse(url.replace("{set}", "set")).scheme for url in urls]
    if len(set(kinds)) < len(kinds):
        raise InputError("--engine: two engines of one kind would be one system in the table; evaluate them one by one")
    for kind, url in zip(kinds, urls):
        for collection in collections:
            _write(kind, url.replace("{set}", collection.name), collection, encoder, measures, folder)
    return {name: str(folder / f"{name}.{{set}}") for kind in kinds for name in (kind, f"{kind}+words")}


def _write(
    kind: str, url: str, collection: Collection, encoder: Encoder, measures: Sequence[str], folder: Path
) -> None:
    from saelex.corpus.trec.runs import write_run
    from saelex.engines.engine import Engine
    from saelex.evaluation.encoded import JudgedDocuments
    from saelex.evaluation.measures import depth_of, read_measures
    from saelex.index.run import search_all

    judged = JudgedDocuments.read(collection)
    depth = judged.searched(depth_of(read_measures(measures)))
    queries = {query.id: query.text for query in collection.queries}
    with Engine.open(url, encoder) as engine:
        if len(engine) != len(judged.documents):
            raise InputError(
                f"{engine.store.url}: holds {len(engine):,} documents, and {collection.name} has "
                f"{len(judged.documents):,}; push the collection to it first"
            )
        for system, words in ((kind, False), (f"{kind}+words", True)):
            found = search_all(engine, queries, depth, title=system, words=words)
            write_run(folder / f"{system}.{collection.name}", found)
