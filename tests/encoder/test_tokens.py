"""The tokenizer that an encoder reads with is the one that transformers makes of the model's files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.encoder.tiny_models import LONG_TEXT, TEXTS, tiny_checkpoint
from transformers import AutoTokenizer

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.bert_tokenizer import plain_bert_tokenizer
from saelex.encoder.settings import EncoderSettings
from saelex.encoder.tokens import TextTokenizer, rust_tokenizer
from saelex.errors import InputError

LENGTH = 20
ODD = [
    *TEXTS,
    " ".join(TEXTS),
    "The WING of ÉCLAIR café 中文字 ultralift windfarm Windfarm",
    "[MASK] x[SEP]y <s> </s> <bos> <|endoftext|>  lift",
    " leading blank, a\u0301ccent, Ａ full ①",
]
Edit = Callable[[Path], None]


def added(content: str, **flags: bool) -> dict[str, Any]:
    plain = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": True, "special": False}
    return {"content": content, **plain, **flags}


def config(**values: Any) -> Edit:
    """Set keys of tokenizer_config.json, or drop them with `...`."""

    def edit(folder: Path) -> None:
        path = folder / "tokenizer_config.json"
        content = json.loads(path.read_text()) | values
        path.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))

    return edit


def stored(change: Callable[[dict[str, Any]], object]) -> Edit:
    """Change tokenizer.json in place."""

    def edit(folder: Path) -> None:
        path = folder / "tokenizer.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit


def file(name: str, **content: Any) -> Edit:
    def edit(folder: Path) -> None:
        (folder / name).write_text(json.dumps(content))

    return edit


def in_turn(*edits: Edit) -> Edit:
    def edit(folder: Path) -> None:
        for each in edits:
            each(folder)

    return edit


def left(content: dict[str, Any]) -> None:
    content["truncation"] = {"direction": "Left", "max_length": 9, "strategy": "LongestFirst", "stride": 0}


def both_strip(content: dict[str, Any]) -> None:
    for token in content["added_tokens"]:
        token |= {"lstrip": True, "rstrip": True}


EDITS: dict[str, Edit] = {
    "as it is": config(),
    "cased": config(do_lower_case=False),
    "accents kept": config(strip_accents=False),
    "accents stripped": config(strip_accents=True),
    "Chinese unsplit": config(tokenize_chinese_chars=False),
    "cut on the left": config(truncation_side="left"),
    "cut on the left, tokenizer.json": stored(left),
    "cut on the right in spite of tokenizer.json": in_turn(stored(left), config(truncation_side="right")),
    "padded on the left": config(padding_side="left"),
    "bos": config(add_bos_token=True),
    "no bos": config(add_bos_token=False),
    "eos": config(add_eos_token=True),
    "prefix space": config(add_prefix_space=True),
    "no prefix space": config(add_prefix_space=False),
    "special tokens split": config(split_special_tokens=True),
    "another mask": config(mask_token="lift"),
    "another start": config(cls_token="lift"),
    "more special tokens": config(additional_special_tokens=["lift", "ultralift"]),
    "named special token": config(image_token="lift"),
    "added_tokens_decoder": config(added_tokens_decoder={"400": added("ultralift"), "401": added("windfarm")}),
    "added whole words": config(added_tokens_decoder={"400": added("windfarm", single_word=True, normalized=False)}),
    "added_tokens.json": file("added_tokens.json", ultralift=400, windfarm=401),
    "special_tokens_map.json": file("special_tokens_map.json", mask_token="lift", additional_special_tokens=["wing"]),
    "strips blanks": stored(both_strip),
    "no normalizer": stored(lambda content: content.update(normalizer=None)),
    "no framing": stored(lambda content: content.update(post_processor=None)),
    "no tokenizer_config.json": lambda folder: (folder / "tokenizer_config.json").unlink(),
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    kinds = ("bert", "distilbert", "llama", "qwen2", "gemma2", "modernbert")
    return {kind: tiny_checkpoint(kind, tmp_path_factory.mktemp(kind)) for kind in kinds}


CLASSES = {
    "bert": "BertTokenizer",
    "bert as stored": "PreTrainedTokenizerFast",
    "distilbert": "DistilBertTokenizer",
    "llama": "LlamaTokenizerFast",
    "qwen2": "Qwen2Tokenizer",
    "gemma2": "GemmaTokenizer",
    "modernbert": "PreTrainedTokenizerFast",
}


@pytest.mark.parametrize("case", EDITS)
@pytest.mark.parametrize("kind", CLASSES)
def test_ids_are_those_of_transformers(kind: str, case: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = checkpoints[kind.split()[0]]
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config(tokenizer_class=CLASSES[kind])(tmp_path)
    EDITS[case](tmp_path)
    ours = TextTokenizer(
        rust_tokenizer(Backbone.load(tmp_path)), EncoderSettings(max_document_length=LENGTH), LENGTH
    ).tokenize(ODD, "document")
    reference = AutoTokenizer.from_pretrained(tmp_path)
    expected = [reference(text, truncation=True, max_length=LENGTH)["input_ids"] for text in ODD]
    assert [text.ids.tolist() for text in ours] == expected


def test_only_files_that_agree_are_read_without_transformers(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """Else a cold search would import transformers for nothing."""
    for path in checkpoints["bert"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config(tokenizer_class="BertTokenizer", do_lower_case=True, never_split=None)(tmp_path)
    plain = plain_bert_tokenizer(Backbone.load(tmp_path).checkpoint)
    assert plain is not None
    reference = AutoTokenizer.from_pretrained(tmp_path).backend_tokenizer
    assert [plain.encode(text).ids for text in TEXTS] == [reference.encode(text).ids for text in TEXTS]
    config(a_setting_of_tomorrow=1)(tmp_path)
    assert plain_bert_tokenizer(Backbone.load(tmp_path).checkpoint) is None


def test_saved_tokenizers_cut_where_they_did(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    for kind in ("bert", "llama"):
        for path in checkpoints[kind].iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        config(truncation_side="left")(tmp_path)
        backbone = Backbone.load(tmp_path)
        settings = EncoderSettings(max_document_length=LENGTH)
        expected = TextTokenizer(rust_tokenizer(backbone), settings, LENGTH).tokenize(ODD, "document")
        backbone.save(tmp_path / kind)
        again = TextTokenizer(rust_tokenizer(Backbone.load(tmp_path / kind)), settings, LENGTH)
        assert [text.ids.tolist() for text in again.tokenize(ODD, "document")] == [
            text.ids.tolist() for text in expected
        ]


def test_a_tokenizer_that_cannot_be_read_is_one_error(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    for path in checkpoints["llama"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(InputError, match="not a model with a readable tokenizer"):
        rust_tokenizer(Backbone.load(tmp_path))


def test_tokens_of_a_second_text_are_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """transformers would add BERT's other token type embedding to them."""

    def second(content: dict[str, Any]) -> None:
        content["post_processor"]["single"][1]["Sequence"]["type_id"] = 1

    for path in checkpoints["bert"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    stored(second)(tmp_path)
    with pytest.raises(InputError, match="token type of a second text"):
        rust_tokenizer(Backbone.load(tmp_path))


def test_a_token_without_an_embedding_is_one_error(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    for path in checkpoints["bert"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "added_tokens.json").write_text(json.dumps({"zeppelin": 100_000}))
    backbone = Backbone.load(tmp_path)
    tokenizer = TextTokenizer(rust_tokenizer(backbone), EncoderSettings(), LENGTH, n_words=backbone.n_words)
    assert len(tokenizer.tokenize(["a wing"], "document")[0].ids) > 2
    with pytest.raises(InputError, match=r"'zeppelin'.* do not belong together"):
        tokenizer.tokenize(["a wing", "a zeppelin"], "document")


def test_a_frame_of_tokens_that_are_nowhere_is_one_error(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """The tokenizers library panics, which no `except Exception` sees."""

    def no_end(content: dict[str, Any]) -> None:
        del content["post_processor"]["special_tokens"]["[SEP]"]

    for path in checkpoints["bert"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config(tokenizer_class="PreTrainedTokenizerFast")(tmp_path)  # BertTokenizer makes the frame anew
    stored(no_end)(tmp_path)
    with pytest.raises(InputError, match="not a model with a readable tokenizer"):
        rust_tokenizer(Backbone.load(tmp_path))


def test_a_limit_below_the_special_tokens_is_one_error(checkpoints: dict[str, Path]) -> None:
    """The tokenizers library cuts nothing then."""
    backbone = Backbone.load(checkpoints["bert"])
    for length, n_tokens in ((3, 3), (2, 2)):
        settings = EncoderSettings(max_query_length=length)
        tokenizer = TextTokenizer(rust_tokenizer(backbone), settings, LENGTH)
        assert len(tokenizer.tokenize([LONG_TEXT], "query")[0].ids) == n_tokens
    tokenizer = TextTokenizer(rust_tokenizer(backbone), EncoderSettings(max_query_length=1), LENGTH)
    with pytest.raises(InputError, match="leave no room for the model's 2 special ones"):
        tokenizer.tokenize([LONG_TEXT], "query")
