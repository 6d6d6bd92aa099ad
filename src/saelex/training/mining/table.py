"""The Parquet file of `saelex mine` and `saelex score`: a row per query, document and miner.

| column | type | what |
|---|---|---|
| query_id, document_id | string | ids of the collection |
| relevant | bool | whether the judgements say so; else the document is a negative |
| rank | int32, perhaps null | from 1, in what the miner found |
| miner | string | who found it; "qrels" for the relevant ones |
| score | float32, perhaps null | the teacher's |
| query, text | string | only with texts |

The file's key-value metadata: `format`, and under `saelex` a JSON object with the command, its settings, sha256 of
corpus and queries, and the teachers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saelex.errors import InputError
from saelex.files import replacing
from saelex.installation import needs_extra
from saelex.reading.json_object import JsonObject, parse_json
from saelex.reading.regular import one_error, regular_file

if TYPE_CHECKING:
    import pyarrow

FORMAT = "saelex-examples/1"
QRELS = "qrels"


def require_pyarrow() -> None:
    """Raises InputError, with what to install, where there is no pyarrow."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise needs_extra("Parquet", "pyarrow", "train") from error


def schema(*, texts: bool = False, facts: dict[str, Any] | None = None) -> pyarrow.Schema:
    """The columns above, with the metadata where there are facts."""
    import pyarrow as pa

    fields = [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("relevant", pa.bool_(), nullable=False),
        pa.field("rank", pa.int32()),
        pa.field("miner", pa.string(), nullable=False),
        pa.field("score", pa.float32()),
    ]
    if texts:
        fields += [pa.field("query", pa.string(), nullable=False), pa.field("text", pa.string(), nullable=False)]
    metadata = None if facts is None else {"format": FORMAT, "saelex": json.dumps(facts, ensure_ascii=False)}
    return pa.schema(fields, metadata)


def write_tables(path: Path, of: pyarrow.Schema, tables: Iterable[pyarrow.Table]) -> int:
    """One file of all the tables, whole or not at all; returns the number of rows."""
    import pyarrow.parquet as pq

    rows = 0
    try:
        with replacing(path) as temporary, pq.ParquetWriter(temporary, of, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table.cast(of))
                rows += len(table)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    return rows


def read_facts(path: Path) -> dict[str, Any]:
    """The JSON object in a file's metadata. Raises InputError where the file is missing or not of this format."""
    import pyarrow.parquet as pq

    regular_file(path)
    with one_error(path, "a Parquet file", "mine or score it again"):
        metadata = pq.read_schema(path).metadata or {}
    found = metadata.get(b"format", b"").decode("utf-8", "replace")
    if found != FORMAT:
        raise InputError(f"{path}: format {found or 'unknown'!r}, not {FORMAT!r}; make it with `saelex mine`")
    return JsonObject({"saelex": parse_json(metadata.get(b"saelex", b""), path)}, path).object("saelex")


def read_table(path: Path) -> pyarrow.Table:
    """The columns that every such file has. Raises InputError as `read_facts` does, and for a file without rows."""
    import pyarrow.parquet as pq

    read_facts(path)
    with one_error(path, f"a Parquet file of the columns {', '.join(schema().names)}", "mine or score it again"):
        table = pq.read_table(path, columns=schema().names).cast(schema())
        table.validate(full=True)
    if not len(table):
        raise InputError(f"{path}: holds no rows")
    return table
