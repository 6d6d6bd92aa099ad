"""Damage to a file: bytes as disks and downloads lose them, and values as people and programs write them wrongly."""

from __future__ import annotations

import io
import json
import os
import random
import socket
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]

# what is written into JSON in place of a value, as text, so that no writer has to agree
_JSON = (
    "null", "true", "false", "0", "-1", "1", "2.5", "1000000000000", "-1000000000000",
    "1" + "0" * 30, "9223372036854775808",
    "1e400", "-1e400", "1e300", "1e-320", "NaN", "Infinity", "-Infinity", "9" * 5000, '""', '"x"', '"../../x"', '"/"',
    '"\\u0000"', '"\\ud800"', '"[MASK]"', '"relu"', '"topk"', '"sum"', '"none"', '"float16"', '"' + "long" * 3000 + '"',
    "[]", "{}", "[null]", '[["a"]]', '{"a": 1}', '{"": null}', '["a", 1, {}]', "[" * 100 + "]" * 100, "[" * 90000,
    '{"a":' * 90 + "1" + "}" * 90, "{,}", "// no", "",
)  # fmt: skip
_CELLS = (
    "", " ", "0", "-1", "1", "2.5", "nan", "inf", "1e400", "9" * 5000, "x", "a b", "\t", "\0", "\ud7ff", "é", "\u2028",
    '"', "{}", "<top>", "</top>", "<", "&amp;", "&x;", "<![CDATA[", "q" * 30000, "{", "null",
)  # fmt: skip
_YAML = (
    "null", "true", "0", "-1", "1e3", "1e999", ".nan", ".inf", "9" * 5000, "[", "[]", "{}", "{a: 1}", "- x", "'", '"',
    "!!python/object:x {}", "!!binary x", "!!int x", "!!timestamp x", "2001-99-99", "0x", "0b", "1:2:3", "&a [*a]",
    "*nowhere", "<<: 1", "? [a]", "|", "\0", "\t", "x",
    "../../x", "[" * 3000, "{" * 3000, "!!set {a}", "!!omap [a]", "!!pairs [a: 1]", "1_000", "~", "=",
)  # fmt: skip
_DTYPES = (
    "BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F4", "F6_E2M3", "F6_E3M2", "I16", "U16", "F16", "BF16",
    "I32", "U32", "F32",
    "F64", "I64", "U64", "C64", "X",
)  # fmt: skip
_NUMBERS = (float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 1e20, 0.0, -1.0)


# ---- bytes ----------------------------------------------------------------------------------------------------------


def any_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flipped bits, bytes lost, blanked, doubled, or put in, one to four times."""
    held = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        start = rng.randrange(len(held) + 1)
        length = min(rng.choice((1, 2, 8, 64, 1000)), len(held) - start)
        kind = rng.randrange(8)
        if kind <= 1 and length:
            held[start] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del held[start:]
        elif kind == 3:
            del held[start : start + length]
        elif kind == 4:
            held[start : start + length] = bytes(length)
        elif kind == 5:
            held[start:start] = held[start : start + length]
        elif kind == 6:
            held[start : start + length] = rng.randbytes(length)
        else:
            held[start : start + 8] = struct.pack("<Q", rng.choice((0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)))
    return bytes(held)


def nothing_or_noise(data: bytes, rng: random.Random) -> bytes:
    """No content, or content of another kind."""
    noise = rng.randbytes(rng.randrange(1, 200))
    return rng.choice(
        (b"", b"\n", b"\xef\xbb\xbf" + data, b"\xff\xfe" + data, b"\x1f\x8b", b"PK\x03\x04", b"{}", b"[]", noise)
    )


# ---- JSON -----------------------------------------------------------------------------------------------------------


def json_values(data: bytes, rng: random.Random) -> bytes:
    """Another value, name or place for one to three parts of a JSON text."""
    try:
        value = json.loads(data)
    except ValueError:
        return any_bytes(data, rng)
    raw: dict[str, str] = {}
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = _changed(value, rng, raw)
    text = json.dumps(value)
    for mark, written in raw.items():
        text = text.replace(json.dumps(mark), written)
    return text.encode("utf-8", "surrogatepass")


def _changed(value: Any, rng: random.Random, raw: dict[str, str]) -> Any:
    holders = [
        (value, key)
        for value in _containers(value)
        for key in (value if isinstance(value, dict) else range(len(value)))
    ]
    mark = f"@raw{len(raw)}@"
    raw[mark] = rng.choice(_JSON)
    if not holders or rng.random() < 0.02:
        return mark
    holder, key = rng.choice(holders)
    kind = rng.randrange(10)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[rng.choice(("x", "", "a" * 300, f"{key}_", "k", "metadata"))] = holder.pop(key)
    elif kind == 2:
        other, place = rng.choice(holders)
        if not isinstance(other[place], (dict, list)):
            holder[key] = other[place]
    elif kind == 3 and isinstance(holder, dict):
        holder[rng.choice(("more", "k", "d_out", "is_decoder", "quantization_config", "auto_map"))] = mark
    else:
        holder[key] = mark
    return value


def _containers(value: Any) -> list[Any]:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    own = [value] if isinstance(value, (dict, list)) else []
    return own + [held for item in inner for held in _containers(item)]


def json_lines(data: bytes, rng: random.Random) -> bytes:
    """One line of JSON lines changed as JSON is."""
    lines = data.split(b"\n")
    which = rng.randrange(len(lines))
    lines[which] = json_values(lines[which], rng)
    return b"\n".join(lines)


# ---- text -----------------------------------------------------------------------------------------------------------


def cells(data: bytes, rng: random.Random) -> bytes:
    """One cell or word of a table or topic replaced, doubled or dropped."""
    lines = data.decode("utf-8", "replace").split("\n")
    which = rng.randrange(len(lines))
    separator = "\t" if "\t" in lines[which] else " "
    row = lines[which].split(separator)
    row[rng.randrange(len(row))] = rng.choice(_CELLS)
    if rng.random() < 0.3:
        row.insert(rng.randrange(len(row) + 1), rng.choice(_CELLS))
    if rng.random() < 0.2:
        row.pop()
    lines[which] = separator.join(row)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def yaml_values(data: bytes, rng: random.Random) -> bytes:
    """The value, the name or the indentation of one line of YAML."""
    lines = data.decode("utf-8", "replace").split("\n")
    for _ in range(rng.choice((1, 1, 2))):
        which = rng.randrange(len(lines))
        name, colon, _value = lines[which].partition(":")
        kind = rng.randrange(6)
        if kind == 0:
            lines[which] = f"{rng.choice(_YAML)}:{_value}"
        elif kind == 1:
            lines[which] = " " * rng.randrange(5) + lines[which]
        elif kind == 2:
            lines.insert(which, rng.choice(_YAML))
        else:
            lines[which] = f"{name}{colon or ':'} {rng.choice(_YAML)}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


# ---- tensors --------------------------------------------------------------------------------------------------------


def safetensors(data: bytes, rng: random.Random) -> bytes:
    """The header's values, dtypes and shapes, or numbers of the tensors."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
    except (struct.error, ValueError):
        return any_bytes(data, rng)
    body = bytearray(data[8 + length :])
    names = [name for name in header if name != "__metadata__"]
    entry = header[rng.choice(names)]
    kind = rng.randrange(6)
    if kind == 0:
        return _joined(json_values(json.dumps(header).encode(), rng), body)
    if kind == 1:
        entry["dtype"] = rng.choice(_DTYPES)
    elif kind == 2:
        entry["shape"] = rng.choice(
            (entry["shape"][::-1], [*entry["shape"], 1], [], [0], [10**12], [2**63, 0], [-1], [2] * 70)
        )
    elif kind == 3:
        header[rng.choice(names)] = header[rng.choice(names)]
    elif kind == 4:
        half = {"F32": "F16", "F64": "F32", "I64": "I32"}.get(entry["dtype"], "U8")
        entry["dtype"], entry["shape"] = half, [*entry["shape"][:-1], 2 * (entry["shape"] or [1])[-1]]
    else:
        start, end = entry["data_offsets"]
        kind, size = {"F64": ("<d", 8), "F16": ("<e", 2), "F32": ("<f", 4)}.get(entry["dtype"], ("<H", 2))
        value = rng.choice(_NUMBERS)
        if end - start >= size:
            with suppress(OverflowError):
                packed = struct.pack(kind, value if kind != "<H" else rng.randrange(1 << 16))
                place = start + size * rng.randrange((end - start) // size)
                body[place : place + size] = packed
    return _joined(json.dumps(header).encode(), body)


def _joined(header: bytes, body: bytes | bytearray) -> bytes:
    return struct.pack("<Q", len(header)) + header + bytes(body)


def zipped(data: bytes, rng: random.Random) -> bytes:
    """A member of a zip file changed beneath its checksum, dropped, doubled, renamed or packed."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:
        return any_bytes(data, rng)
    which = rng.randrange(len(members))
    name, content = members[which]
    kind = rng.randrange(7)
    if kind == 0:
        members.pop(which)
    elif kind == 1:
        members.append((name, any_bytes(content, rng)))
    elif kind == 2:
        members[which] = (rng.choice(("x", "../x", f"{name}x", "\u00e9", "W_enc")), content)
    elif kind == 3:
        members[which] = (name, content[: 8 + rng.randrange(120)].ljust(len(content), b"\xff"))
    elif kind <= 5:
        head = content[:160]
        members[which] = (name, any_bytes(head, rng) + content[160:])
    packing = zipfile.ZIP_DEFLATED if kind == 6 else zipfile.ZIP_STORED
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", packing) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return made.getvalue()


BY_KIND: dict[str, tuple[Mutation, ...]] = {
    "json": (json_values, json_values, json_values, any_bytes, nothing_or_noise),
    "jsonl": (json_lines, json_lines, any_bytes, nothing_or_noise),
    "text": (cells, cells, any_bytes, nothing_or_noise),
    "yaml": (yaml_values, yaml_values, yaml_values, any_bytes, nothing_or_noise),
    "safetensors": (safetensors, safetensors, safetensors, any_bytes, nothing_or_noise),
    "zip": (zipped, zipped, any_bytes, nothing_or_noise),
    "bytes": (any_bytes, any_bytes, nothing_or_noise),
}
"""What is done to a file of each kind."""

_KINDS = {
    ".json": "json", ".jsonl": "jsonl", ".tsv": "text", ".txt": "text", ".trec": "text", ".xml": "text",
    ".yaml": "yaml",
    ".safetensors": "safetensors", ".npz": "zip", ".pt": "zip", ".pth": "zip", ".bin": "zip",
}  # fmt: skip


def mutated(name: str, data: bytes, rng: random.Random) -> bytes:
    """The content of a file of this name, damaged."""
    return rng.choice(BY_KIND[_KINDS.get(Path(name).suffix, "bytes")])(data, rng)


# ---- what is no regular file ----------------------------------------------------------------------------------------

SPECIAL = (
    "folder",
    "pipe",
    "device",
    "endless device",
    "socket",
    "dangling link",
    "link to itself",
    "missing",
    "unreadable",
)


def put_special(path: Path, what: str) -> None:
    """In place of a file, which is gone already: one of SPECIAL."""
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/null")
    elif what == "endless device":
        path.symlink_to("/dev/zero")
    elif what == "socket":
        here = os.open(path.parent, os.O_RDONLY)  # a socket's path may have 107 bytes
        try:
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(f"/proc/self/fd/{here}/{path.name}")
        finally:
            os.close(here)
    elif what == "dangling link":
        path.symlink_to("nowhere")
    elif what == "link to itself":
        path.symlink_to(path.name)
    elif what == "unreadable":
        path.touch(mode=0)
