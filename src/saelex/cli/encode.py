"""`saelex encode`: texts in, sparse vectors out."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from saelex.cli.options import DEFAULT_MODEL, IdField, Model, Precision, Runtime, TextField, TitleField, load_encoder
from saelex.errors import InputError
from saelex.files import expanded
from saelex.top_k import Cut

if TYPE_CHECKING:
    from saelex.encoder.encoder import Encoder
    from saelex.encoder.settings import TopKChoice
    from saelex.vectors import SparseRows

CHUNK = 1024
_OTHER_FORMS = {".csv", ".gz", ".json", ".ndjson", ".npy", ".npz", ".safetensors", ".tsv", ".txt"}


def encode(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="What `saelex index` takes: JSONL, CSV, TSV, a BEIR folder, documents in files; - is JSONL on stdin.",
        ),
    ] = None,
    text: Annotated[list[str], typer.Option("--text", "-t", help="A text to encode, in place of a source.")] = [],  # noqa: B006
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="File .jsonl, or folder for numpy arrays and ids.json; - prints JSON lines."
        ),
    ] = "-",
    model: Model = DEFAULT_MODEL,
    side: Annotated[str, typer.Option(help="query or document: prompt, length and Top-K differ.")] = "document",
    top_k: Annotated[
        str, typer.Option(help="Latents kept per text: 40, 40+80%, 'all', or 'default', the model's own.")
    ] = "default",
    runtime: Runtime = "auto",
    precision: Precision = None,
    id_field: IdField = None,
    text_field: TextField = None,
    title_field: TitleField = None,
) -> None:
    """Encode texts; a JSON line is {"id", "vector": {"latent": weight}}, as sparse engines read it."""
    if (source is None) == (not text):
        raise InputError("give either a source or --text, and not both")
    if side not in ("query", "document"):
        raise InputError(f"--side is query or document, not {side!r}")
    to_lines = output == "-" or output.endswith(".jsonl")
    if not to_lines and Path(output).suffix in _OTHER_FORMS:
        raise InputError(f"--output {output}: a name in .jsonl is a file of JSON lines, any other a folder of arrays")
    kept = read_top_k(top_k)
    texts = enumerate_texts(source, text, id_field=id_field, text_field=text_field, title_field=title_field)
    encoder = load_encoder(model, runtime, precision)
    chunks = _encoded(encoder, texts, "query" if side == "query" else "document", kept)
    if output == "-":
        sys.stdout.writelines(_lines(chunks))
    elif to_lines:
        from saelex.files import write_text

        write_text(Path(output), _lines(chunks))
    else:
        _save(expanded(output), chunks)


def read_top_k(text: str) -> TopKChoice:
    """What `--top-k` means to an encoder. Raises InputError for what is no Top-K, 'all' or 'default'."""
    if text == "default":
        return "default"
    if text == "all":
        return None
    top_k = int(text) if re.fullmatch("[1-9][0-9]{0,9}", text) else text
    Cut.read(top_k, "--top-k", others="'all' or 'default'")
    return top_k


def enumerate_texts(source: str | None, texts: list[str], **fields: str | None) -> Iterator[tuple[str, str]]:
    """Id and text of what is to be encoded; texts given one by one are numbered from 0. fields: of `read_corpus`."""
    if source is None:
        if any(fields.values()):
            raise InputError("--id-field, --text-field and --title-field are of a source; leave them out")
        return ((str(i), text) for i, text in enumerate(texts))
    from saelex.corpus.reading import read_corpus

    return ((document.id, document.content) for document in read_corpus(source, **fields))


def _encoded(
    encoder: Encoder, texts: Iterator[tuple[str, str]], side: Literal["query", "document"], top_k: TopKChoice
) -> Iterator[tuple[list[str], SparseRows]]:
    ids: list[str] = []
    found = False

    def contents() -> Iterator[str]:
        for name, content in texts:
            ids.append(name)
            yield content

    for rows in encoder.encode_stream(contents(), side=side, top_k=top_k, chunk_size=CHUNK, progress=True):
        # the encoder may read ahead: the first ids are those of these rows
        chunk, ids[: len(rows)] = ids[: len(rows)], []
        found = True
        yield chunk, rows
    if not found:
        raise InputError("nothing to encode: the source holds no document")


def _lines(chunks: Iterator[tuple[list[str], SparseRows]]) -> Iterator[str]:
    for ids, rows in chunks:
        for name, vector in zip(ids, rows.to_dicts()):
            weights = {str(latent): weight for latent, weight in vector.items()}
            yield json.dumps({"id": name, "vector": weights}, ensure_ascii=False) + "\n"


def _save(folder: Path, chunks: Iterator[tuple[list[str], SparseRows]]) -> None:
    from saelex.files import write_text
    from saelex.vectors import SparseRows

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists already; choose a new folder for the vectors")
    ids: list[str] = []
    parts: list[SparseRows] = []
    for chunk, rows in chunks:
        ids += chunk
        parts.append(rows)
    SparseRows.concatenate(parts).save(folder)
    write_text(folder / "ids.json", [json.dumps(ids, ensure_ascii=False) + "\n"])
