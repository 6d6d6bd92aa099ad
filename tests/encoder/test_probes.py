from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tests.encoder.tiny_encoders import tiny_encoder

from saelex.encoder import probes
from saelex.encoder.encoder import Encoder
from saelex.errors import InputError, MismatchError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_encoder(tmp_path / "bert").save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_keeps_eight_documents_vectors(folder: Path) -> None:
    encoder = Encoder.load(folder, runtime="torch")
    texts, rows = probes.read_probes(folder / probes.FILE_NAME)
    assert texts == probes.PROBES and len(texts) == 8
    expected = encoder.encode_document(list(texts), top_k=None)
    np.testing.assert_allclose(rows.to_dense(), expected.to_dense(), atol=1e-4)
    assert "probes" in json.loads((folder / "saelex_config.json").read_text())


def test_a_rounded_head_has_probes_of_its_own(folder: Path) -> None:
    encoder = Encoder.load(folder, runtime="torch")
    encoder.save_pretrained(folder, weight_dtype=torch.bfloat16)
    again = Encoder.load(folder, runtime="torch")
    _, rows = probes.read_probes(folder / probes.FILE_NAME)
    expected = again.encode_document(list(probes.PROBES), top_k=None)
    np.testing.assert_allclose(rows.to_dense(), expected.to_dense(), atol=1e-4)


def test_a_runtime_that_computes_something_else_is_refused(folder: Path) -> None:
    path = folder / probes.FILE_NAME
    _change(folder, lambda weights: weights[::-1].copy())
    with pytest.raises(MismatchError, match=r"model: numpy in float32 does not give the vectors.*is meant"):
        Encoder.load(folder, runtime="numpy")
    assert path.is_file()


def test_a_change_below_the_tolerance_passes(folder: Path) -> None:
    _change(folder, lambda weights: weights * np.float32(1 + 1e-4))
    assert Encoder.load(folder, runtime="numpy").n_latents == 96


def test_probes_of_another_folder_are_refused(folder: Path) -> None:
    (folder / probes.FILE_NAME).write_bytes((folder / probes.FILE_NAME).read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(MismatchError, match=r"probes\.safetensors is not the file"):
        Encoder.load(folder, runtime="numpy")


def test_a_folder_without_probes_loads_and_says_so(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = folder / "saelex_config.json"
    content = json.loads(config.read_text())
    del content["probes"], content["digest"]
    config.write_text(json.dumps(content))
    with pytest.raises(InputError, match="no part of the model"):
        Encoder.load(folder, runtime="numpy")
    (folder / probes.FILE_NAME).unlink()
    with caplog.at_level(logging.INFO):
        Encoder.load(folder, runtime="numpy")
    assert "keeps no vectors of probe texts" in caplog.text


def _change(folder: Path, change) -> None:  # type: ignore[no-untyped-def]
    """Other weights in the probes, with the config's hashes made to fit."""
    from saelex.encoder.files.folder import _digest
    from saelex.files import sha256_of

    path, config = folder / probes.FILE_NAME, folder / "saelex_config.json"
    texts, rows = probes.read_probes(path)
    arrays = load_file(path)
    metadata = {"format": probes.FORMAT, "texts": json.dumps(texts), "n_latents": str(rows.n_latents)}
    save_file(arrays | {"weights": change(arrays["weights"])}, path, metadata=metadata)
    content = json.loads(config.read_text())
    content["probes"]["sha256"] = sha256_of(path)
    content["digest"] = _digest(content)
    config.write_text(json.dumps(content))
