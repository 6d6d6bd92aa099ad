"""How a server is run, and the bounds of what one request may ask for."""

from __future__ import annotations

from dataclasses import dataclass

from saelex.errors import InputError

MOST_HITS = 1000
"""Of one query."""
MOST_HITS_OF_BATCH = 10_000
"""Of all queries of one request."""
MOST_EXPLAINED = 100
"""Hits of one request that reasons or snippets are made of."""
MOST_TEXTS = 1000
"""Queries, texts or documents of one request."""
MOST_CHARACTERS = 10_000
"""Of a query, and of a text whose concepts are asked for."""
MOST_NAMES = 100
"""Concepts in each of boost, ban and add; fields of a filter; values of a field."""
MOST_SNIPPET_WORDS = 500


@dataclass(frozen=True)
class Settings:
    """How a server is run.

    writable: documents may be added and deleted. api_key: what every request but those for the page's files and
    /health must show; None: nobody is asked. cors_origins: of pages elsewhere that may ask, "https://example.org".
    allowed_hosts: names that the server answers to (`Host`), so that no page elsewhere reaches a server without a key
    under a name of its own; empty: any. log_queries: paths and bodies in the log.
    seconds: for one request. queue: texts (or other work) that may wait. batch_tokens: tokens that are encoded
    together. batch_wait: seconds that a busy queue waits for more of them, at most. cached_queries: query vectors kept
    for each encoder. body_bytes: of one request.

    Raises InputError for numbers that cannot be.
    """

    writable: bool = False
    api_key: str | None = None
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    log_queries: bool = False
    seconds: float = 30.0
    queue: int = 2000
    batch_tokens: int = 2048
    batch_wait: float = 0.005
    cached_queries: int = 1024
    body_bytes: int = 8 << 20

    def __post_init__(self) -> None:
        for name in ("seconds", "queue", "batch_tokens", "cached_queries", "body_bytes"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} of a server is above 0, not {getattr(self, name)}")
        if not 0 <= self.batch_wait <= 0.005:
            raise InputError(f"batch_wait is at most 0.005 seconds, not {self.batch_wait}")
        if self.api_key is not None and not self.api_key.strip():
            raise InputError("the API key is empty; give one, or none at all")
