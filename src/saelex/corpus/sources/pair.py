"""Cross-lingual collections: the queries of one language over the documents of another, joined by their ids."""

from __future__ import annotations

from saelex.corpus.collection import Collection
from saelex.errors import InputError


def read_pair(queries: Collection, documents: Collection, source: str) -> Collection:
    """The queries of the first over the documents of the second; both have the same judgements.

    Its name is FIRST+SECOND. Raises InputError where the qrels differ, and so do not speak of the same ids.
    """
    differing = sorted(
        query
        for query in queries.qrels.keys() | documents.qrels.keys()
        if queries.qrels.get(query) != documents.qrels.get(query)
    )
    if differing:
        raise InputError(
            f"{source}: ids and qrels of a pair must agree, and {queries.source} and {documents.source} judge "
            f"{len(differing)} queries differently, {differing[0]!r} among them"
        )
    split = queries.split if queries.split == documents.split else f"{queries.split}+{documents.split}"
    name = f"{queries.name}+{documents.name}"
    own = queries.ignore_own_ids or documents.ignore_own_ids
    return Collection(source, name, split, queries.queries, queries.qrels, documents.read_documents, own)
