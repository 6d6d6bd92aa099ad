"""Collections cut to a size that a study can search many times."""

from __future__ import annotations

import random
from dataclasses import replace

from saelex.corpus.collection import Collection
from saelex.evaluation.encoded import JudgedDocuments


def judged_sample(collection: Collection, queries: int, documents: int | None) -> JudgedDocuments:
    """A collection cut to some of its queries, the documents judged for them, be they more, and others drawn at random.

    documents: None keeps all.
    """
    judged = JudgedDocuments.read(collection.with_queries(queries))
    if documents is None:
        return judged
    wanted = {document for grades in judged.collection.qrels.values() for document in grades}
    drawn = random.Random(0).sample(judged.documents, len(judged.documents))
    kept = sorted(drawn, key=lambda one: one.id not in wanted)[: max(documents, len(wanted))]
    return replace(judged, documents=sorted(kept, key=lambda one: one.id))
