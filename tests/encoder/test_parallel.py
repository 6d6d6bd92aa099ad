from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.encoder.tiny_encoders import tiny_encoder
from tests.encoder.tiny_models import TEXTS

from saelex.encoder.encoder import Encoder
from saelex.encoder.parallel import encode_windows, worker_devices
from saelex.errors import InputError, SaelexError
from saelex.vectors import SparseRows


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return tiny_encoder(tmp_path_factory.mktemp("bert"))


def test_two_processes_give_the_rows_of_one_in_order_and_read_little_ahead(encoder: Encoder) -> None:
    texts = [TEXTS[i % len(TEXTS)] * (i % 3) for i in range(40)]
    taken: list[int] = []

    def stream() -> Iterator[str]:
        for i, text in enumerate(texts):
            taken.append(i)
            yield text

    chunks = encoder.encode_stream(stream(), chunk_size=5, processes=2)
    first = next(chunks)
    assert len(taken) == 20  # two windows under way for each of two workers
    rows = SparseRows.concatenate([first, *chunks])
    alone = encoder.encode_document(texts)
    np.testing.assert_array_equal(rows.latents, alone.latents)
    np.testing.assert_allclose(rows.weights, alone.weights, rtol=1e-5)
    np.testing.assert_array_equal(rows.positions, alone.positions)


@pytest.mark.slow
def test_equal_texts_get_equal_vectors_from_two_processes(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join([TEXTS[i % 7]] * (i % 5 + 1)) for i in range(70)]  # each of 35 twice
    monkeypatch.setattr("saelex.encoder.encoder.WINDOW", 9)
    monkeypatch.setattr(encoder, "batch_tokens", 60)
    rows = encoder.encode_document(texts, processes=2)
    alone = encoder.encode_document(texts)
    for name in ("latents", "weights", "positions"):
        np.testing.assert_array_equal(getattr(rows[:35], name), getattr(rows[35:], name))
        np.testing.assert_allclose(getattr(rows, name), getattr(alone, name), rtol=1e-5)


def test_processes_become_devices() -> None:
    assert worker_devices(None, "cpu") == []
    assert worker_devices(1, "cpu") == []
    assert worker_devices(2, "cpu") == ["cpu", "cpu"]
    assert worker_devices(["cuda:0", "cuda:1"], "cpu") == ["cuda:0", "cuda:1"]
    for wrong in (0, -1, [], "cuda:0", [0, 1]):
        with pytest.raises(InputError, match="processes"):
            worker_devices(wrong, "cpu")  # type: ignore[arg-type]


def test_a_bad_text_is_named_by_its_index(encoder: Encoder) -> None:
    with pytest.raises(InputError, match="text 3 is a float"):
        list(encoder.encode_stream(iter(["a", "b", "c", 4.0]), chunk_size=4, processes=2))  # type: ignore[list-item]


def test_a_worker_that_dies_is_an_error_not_a_hang(encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(SaelexError, match="encoding process died or could not start"):
        list(encode_windows(partial(Encoder.load, tmp_path / "gone"), ["cpu"], [["lift"]], "query", None))


@pytest.mark.slow
def test_workers_compute_in_the_dtype_of_the_encoder(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "bert").save_pretrained(tmp_path / "model", include_backbone=False)
    half = Encoder.load(tmp_path / "model", device="cpu", dtype=torch.bfloat16)
    load = partial(Encoder.load, tmp_path / "model", dtype=half.backbone.dtype)
    (rows,) = encode_windows(load, ["cpu"], [TEXTS], "document", None)
    np.testing.assert_array_equal(rows.to_dense(), half.encode_document(TEXTS, top_k=None).to_dense())
    whole = Encoder.load(tmp_path / "model", device="cpu").encode_document(TEXTS, top_k=None)
    assert not np.array_equal(rows.to_dense(), whole.to_dense())
