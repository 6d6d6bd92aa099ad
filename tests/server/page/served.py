"""Two small indexes behind a real server on a loopback port, and what the tests expect of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from tests.index.fakes import FakeEncoder

from saelex import Index
from saelex.concepts.concept import Concept, Evidence, Example, Published
from saelex.corpus.documents import Document
from saelex.server.app import create_app
from saelex.server.settings import Settings

HOSTILE = "a/b?c#d"
DOCUMENTS = [
    Document("zip", "Reading a zip archive in Python: open it, then read.", "Zip", {"kind": "book", "year": 2010}),
    Document("zip2", "A zip holds files. Such an archive is small.", "Archives", {"kind": "note", "year": 2015}),
    Document("tar", "A tar archive holds files on tape.", "Tape", {"kind": "book", "year": 1990, "url": "https://a.test/tar"}),
    Document("wing", "The wing of an aircraft creates lift in the air.", "Lift", {"kind": "book", "year": 1950}),
    Document("bank", "A bank lends money to a river of customers.", "Money", {"kind": "note", "year": 1990}),
    Document("river", "River banks flood when rain falls on the river.", "", {"kind": "note", "year": 2001}),
    Document("astral", "😀😀 机翼 👩‍🚀 wing lift 升力 😀 wing.", "𝔸stral 🛩️", {"kind": "note", "year": 2020}),
    Document(
        HOSTILE,
        f"<script>window.hacked = 1</script> zip {'x' * 3000} <img src=x onerror='window.hacked=2'> \u202egnp.a שלום",
        "<img src=x onerror='window.hacked=3'><b>bold</b>",
        {"kind": "note", "year": 2021, "url": "javascript:window.hacked=4"},
    ),
]  # fmt: skip
LABELS = {"zip": "zip", "archive": "archive · archives", "wing": "wing · airfoil", "river": "river", "bank": "bank"}


def make_index(path: Path, *, seed: int = 0, documents: list[Document] = DOCUMENTS) -> Index:
    """With a label for both latents of each word in LABELS; one of them is published, too."""
    encoder = FakeEncoder(seed=seed)
    index = Index.create(path, encoder, pruned=True)
    index.add(documents)
    concepts = {}
    for word, label in LABELS.items():
        for latent in latents_of(encoder, word):
            evidence = (Evidence(word, 9.0), Evidence(f"{word}s", 4.0))
            examples = (Example("zip", f"<i>Here</i> a {word} is, and once more {word.upper()}.", word, 1.0),)
            published = Published(f"about <b>{word}</b>s", "a model", "m/1") if word == "river" else None
            concepts[latent] = Concept(latent, label, evidence, examples, 0.25, 1.0, published=published)
    index.write_concepts(concepts.values())
    return index


def latents_of(encoder: FakeEncoder, word: str) -> list[int]:
    """The two that fire at a word."""
    return [int(latent) for latent in encoder.encode_query(word).latents]


@contextmanager
def serving(indexes: Mapping[str, Index], settings: Settings | None = None, port: int = 0) -> Iterator[str]:
    """The address of a server in a thread of its own."""
    config = uvicorn.Config(
        create_app(indexes, settings), host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        assert server.started, "the server did not start"
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()
