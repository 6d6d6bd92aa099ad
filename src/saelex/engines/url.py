"""Where an engine is: `qdrant://host:6333/notes`, `postgresql://user@host/database/notes`, `milvus+lite:///folder/file.db/notes`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from saelex.errors import InputError

STORES = {
    "qdrant": "qdrant:QdrantStore",
    "qdrant+https": "qdrant:QdrantStore",
    "qdrant+local": "qdrant:QdrantStore",
    "qdrant+edge": "qdrant_edge:QdrantEdgeStore",
    "milvus": "milvus:MilvusStore",
    "milvus+https": "milvus:MilvusStore",
    "milvus+lite": "milvus:MilvusStore",
    "postgresql": "postgresql:PostgresStore",
    "seekdb": "seekdb:SeekdbStore",
    "opensearch": "opensearch:OpenSearchStore",
    "opensearch+https": "opensearch:OpenSearchStore",
    "elasticsearch": "elasticsearch:ElasticsearchStore",
    "elasticsearch+https": "elasticsearch:ElasticsearchStore",
    "vespa": "vespa:VespaStore",
    "vespa+https": "vespa:VespaStore",
}
"""Scheme -> module of this package and class in it."""

PASSWORD = "SAELEX_ENGINE_PASSWORD"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,58}")


@dataclass(frozen=True)
class EngineUrl:
    """A URL taken apart. name: of the collection, index or table, the path's last part; folder: the path before it.

    Without a password in it, the environment's SAELEX_ENGINE_PASSWORD is used: what is typed can be seen by others.
    """

    scheme: str
    host: str
    port: int | None
    user: str
    password: str = field(repr=False)
    folder: str
    name: str
    options: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> EngineUrl:
        """Raises InputError for what is no URL of an engine."""
        try:
            parts = urlsplit(text)
            port, host = parts.port, parts.hostname or ""
        except ValueError as error:
            raise InputError(f"{text!r} is no URL: {error}") from error
        if parts.scheme not in STORES:
            raise InputError(f"unknown engine {parts.scheme!r}; a URL begins with one of {', '.join(STORES)}")
        folder, _, name = unquote(parts.path).rstrip("/").rpartition("/")
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{name!r}: the last part of an engine's URL names the collection: a small letter, "
                f"then small letters, digits and _, as in {parts.scheme}://{host}/notes"
            )
        password = unquote(parts.password or "") or os.environ.get(PASSWORD, "")
        return cls(
            parts.scheme, host, port, unquote(parts.username or ""), password, folder, name,
            dict(parse_qsl(parts.query, keep_blank_values=True)),
        )  # fmt: skip

    def __str__(self) -> str:
        """Without the password."""
        where = f"{self.user}@" if self.user else ""
        port = "" if self.port is None else f":{self.port}"
        asked = "&".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.scheme}://{where}{self.host}{port}{self.folder}/{self.name}" + (asked and f"?{asked}")

    @property
    def base(self) -> str:
        """http:// or https://, host and port, for engines that speak it; the port is the engine's own unless named."""
        secure = "s" if self.scheme.endswith("+https") else ""
        port = "" if self.port is None else f":{self.port}"
        return f"http{secure}://{self.host or 'localhost'}{port}"

    def option(self, name: str, choices: Mapping[str, Any], default: str) -> Any:
        """What an option stands for. Raises InputError for a value that is none of the choices."""
        value = self.options.get(name, default)
        if value not in choices:
            raise InputError(f"{self}: {name} is one of {', '.join(choices)}, not {value!r}")
        return choices[value]
