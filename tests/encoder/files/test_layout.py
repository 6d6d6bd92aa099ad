"""Files of model folders: what is read, what has no effect, what is refused and what is warned of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.encoder.tiny_encoders import tiny_encoder
from tests.encoder.tiny_models import tiny_checkpoint

from saelex.encoder.encoder import Encoder
from saelex.encoder.files.layout import READ, WITHOUT_EFFECT, check_files
from saelex.errors import InputError


def warnings_of(folder: Path, layout: str, caplog: pytest.LogCaptureFixture) -> str:
    caplog.clear()
    check_files(folder, layout)
    return caplog.text


@pytest.mark.parametrize("layout", READ)
def test_files_that_are_read_or_change_nothing_pass(
    layout: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (*READ[layout], *WITHOUT_EFFECT, "README.md", "LICENSE", ".gitattributes", "model.onnx", "custom.py"):
        (tmp_path / name.replace("*", "1")).touch()
    if "adapter_config.json" not in READ[layout]:
        assert not (tmp_path / "adapter_config.json").exists()
    for name in ("onnx", "openvino", "training", ".cache"):
        (tmp_path / name).mkdir()
    assert warnings_of(tmp_path, layout, caplog) == ""


@pytest.mark.parametrize("layout", READ)
@pytest.mark.parametrize("name", ["pooling_settings.json", "extra.safetensors", "head.bin", "model.fp16.pt", "x.npz"])
def test_other_settings_and_weights_are_warned_of(
    name: str, layout: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / name).touch()
    assert f"{name} is no file of a {layout}" in warnings_of(tmp_path, layout, caplog)


def test_modules_that_nothing_names_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "1_SpladePooling").mkdir()
    (tmp_path / "2_Dense").mkdir()
    check_files(tmp_path, "SparseEncoder", [tmp_path / "1_SpladePooling"])
    assert "2_Dense looks like a module" in caplog.text and "1_SpladePooling looks" not in caplog.text


@pytest.mark.parametrize("layout", READ)
def test_quantised_weights_are_refused(layout: str, tmp_path: Path) -> None:
    (tmp_path / "quantize_config.json").touch()
    with pytest.raises(InputError, match="quantised weights; give the original"):
        check_files(tmp_path, layout)


def test_a_whole_checkpoint_needs_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tiny_checkpoint("bert", tmp_path / "bert", language_model=True)
    Encoder.load(folder, device="cpu").save_pretrained(tmp_path / "ours")
    Encoder.load(tmp_path / "ours", device="cpu")
    assert caplog.text == ""
    (folder / "extra_config.json").write_text("{}")
    Encoder.load(folder, device="cpu")
    assert "extra_config.json is no file of a masked language model" in caplog.text


@pytest.mark.parametrize("name", ["weighting.safetensors", "token_weights.safetensors", "adapter.safetensors"])
def test_parts_that_a_saelex_folder_does_not_name_are_refused(name: str, tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "bert").save_pretrained(tmp_path / "model")
    save_file({"weight": torch.ones(3)}, tmp_path / "model" / name)
    with pytest.raises(InputError, match=f"{name} is no part of the model"):
        Encoder.load(tmp_path / "model")


@pytest.mark.parametrize("place", ["", "backbone"])
def test_an_adapter_in_a_saelex_folder_is_refused(place: str, tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "bert").save_pretrained(tmp_path / "model")
    (tmp_path / "model" / place / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(InputError, match="a peft adapter, which a saelex model does not read"):
        Encoder.load(tmp_path / "model")
