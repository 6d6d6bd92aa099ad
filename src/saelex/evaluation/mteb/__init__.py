"""mteb 2 over saelex: its retrieval and reranking tasks, searched through saelex' own index.

An encoder at hand::

    import mteb
    from saelex import Encoder
    from saelex.evaluation.mteb import SaelexSearch

    mteb.evaluate(SaelexSearch(Encoder.load("saelex-minilm")), tasks=mteb.get_tasks(["SciFact"]))

A model by its name, as with the models that mteb itself knows::

    import mteb
    from saelex import Encoder
    from saelex.evaluation.mteb import register

    register(Encoder.load("saelex-minilm"))
    mteb.get_model("saelex/saelex-minilm")
"""

from __future__ import annotations

from saelex.evaluation.mteb.search import SaelexSearch, load_search, register

__all__ = ["SaelexSearch", "load_search", "register"]
