"""Every format: what is damaged, incomplete or made for something else is refused with one clear line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tests.sae.formats.builders import Builder, D
from tests.sae.formats.library_builders import BUILDERS

from saelex.errors import InputError, MismatchError
from saelex.sae.autoencoder import SparseAutoencoder

by_format = pytest.mark.parametrize("builder", BUILDERS, ids=lambda builder: f"{builder.name}-{builder.write.__name__}")


def refused(path: Path, *words: str, decoder: bool = True) -> None:
    with pytest.raises(InputError) as error:
        SparseAutoencoder.load(path, decoder=decoder)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@by_format
def test_a_missing_tensor_is_named(builder: Builder, tmp_path: Path) -> None:
    for i, name in enumerate(sorted(set(builder.tensors()) - builder.optional)):
        kept = {other: tensor for other, tensor in builder.tensors().items() if other != name}
        refused(builder.write(tmp_path / str(i), kept), name)


@by_format
def test_a_tensor_of_another_shape_is_named(builder: Builder, tmp_path: Path) -> None:
    for i, (name, tensor) in enumerate(sorted(builder.tensors().items())):
        if tensor.ndim == 0:
            continue
        shorter = tensor[..., :-1].contiguous()
        refused(builder.write(tmp_path / str(i), {**builder.tensors(), name: shorter}), "shape")
        flat = tensor.reshape(-1, 1) if tensor.ndim == 1 else tensor.flatten()
        refused(builder.write(tmp_path / f"{i}-flat", {**builder.tensors(), name: flat}), "shape")


@by_format
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_and_infinity_are_refused_wherever_they_are(builder: Builder, value: float, tmp_path: Path) -> None:
    for i, (name, tensor) in enumerate(sorted(builder.tensors().items())):
        damaged = tensor.clone()
        damaged.view(-1)[-1] = value
        path = builder.write(tmp_path / str(i), {**builder.tensors(), name: damaged})
        refused(path, name, "NaN or infinity")
        if name not in builder.decoder:
            refused(path, name, "NaN or infinity", decoder=False)


@by_format
def test_a_file_cut_short_is_refused(builder: Builder, tmp_path: Path) -> None:
    path = builder.write(tmp_path)
    file = path / builder.weights if builder.weights else path
    whole = file.read_bytes()
    for kept in (0, 1, 7, 40, 300, len(whole) // 2, len(whole) - 100, len(whole) - 1):
        file.write_bytes(whole[:kept])
        for decoder in (True, False):
            refused(path, file.name, builder.damaged, "download", decoder=decoder)


@by_format
def test_a_configuration_that_is_none_is_refused(builder: Builder, tmp_path: Path) -> None:
    if builder.config is None:
        pytest.skip("it has none")
    path = builder.write(tmp_path)
    for content in (b"{", b"[1, 2]", b"\xff\xfe\x00", b""):
        (path / builder.config).write_bytes(content)
        refused(path, builder.config)


@by_format
def test_another_model_layer_or_width_does_not_belong(builder: Builder, tmp_path: Path) -> None:
    sae = SparseAutoencoder.load(builder.write(tmp_path), decoder=False)
    assert (sae.config.model_name, sae.config.layer) == (builder.model, builder.layer)
    model = builder.model or "someone/some-model"
    sae.check_belongs(model, builder.layer, D)
    with pytest.raises(MismatchError, match=r"8 dimensions, .* has 16"):
        sae.check_belongs(model, builder.layer, 16)
    if builder.model is not None:
        with pytest.raises(MismatchError, match=f"was trained on {builder.model}, not on someone/some-model"):
            sae.check_belongs("someone/some-model", builder.layer, D)
    if builder.layer is not None:
        with pytest.raises(MismatchError, match=f"output of block {builder.layer}, not of block {builder.layer + 1}"):
            sae.check_belongs(model, builder.layer + 1, D)
