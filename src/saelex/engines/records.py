"""Bytes kept in an engine as records of text, under the hash of what they hold."""

from __future__ import annotations

import base64
import hashlib
import zlib

from saelex.engines.entry import STATE, Entry
from saelex.engines.store import Store
from saelex.errors import SaelexError

_CHUNK = 40_000  # characters of a record: less than what any engine takes


def ids_of(named: str) -> list[str]:
    """The records of what was written under a name."""
    digest, _, count = named.partition("/")
    return [f"{STATE}{digest}/{i}" for i in range(int(count or 0))]


def write_bytes(store: Store, content: bytes) -> str:
    """Keep bytes under the hash that is returned, with the number of records."""
    text = base64.b64encode(zlib.compress(content)).decode()
    parts = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
    named = f"{hashlib.sha256(content).hexdigest()[:32]}/{len(parts)}"
    store.put(Entry(name, text=part) for name, part in zip(ids_of(named), parts))
    return named


def read_bytes(store: Store, named: str) -> bytes:
    """What was written. Raises SaelexError where it is not whole."""
    records = store.get(ids_of(named))
    try:
        content = zlib.decompress(base64.b64decode("".join(records[name].text for name in ids_of(named))))
    except (KeyError, ValueError, zlib.error) as error:
        raise SaelexError(f"{store.url}: its records are not whole; push the index again") from error
    if hashlib.sha256(content).hexdigest()[:32] != named.partition("/")[0]:
        raise SaelexError(f"{store.url}: its records are not what was written; push the index again")
    return content
