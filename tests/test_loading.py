from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from saelex.errors import InputError
from saelex.loading import Loading


def test_a_dtype_goes_by_its_name() -> None:
    assert Loading().torch_dtype is None
    assert Loading(dtype=torch.float16).torch_dtype == torch.float16
    assert Loading(dtype="bfloat16").torch_dtype == torch.bfloat16
    for wrong in ("float99", "int8", "nn"):
        with pytest.raises(InputError, match=f"unknown dtype '{wrong}'; use float32"):
            _ = Loading(dtype=wrong).torch_dtype


def test_a_named_device_is_kept_and_the_best_one_taken_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Loading().place == "cpu" and Loading(device="cuda:1").place == "cuda:1"
    for there, best in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert Loading(token="secret").on_best_device() == Loading(device=best, token="secret")
        assert Loading(device="cuda:1").on_best_device() == Loading(device="cuda:1")


def test_the_hub_is_asked_for_a_version() -> None:
    assert Loading(device="cpu", revision="main", token="secret").hub == {"revision": "main", "token": "secret"}


def test_an_unknown_option_is_an_error() -> None:
    with pytest.raises(TypeError, match="revisoin"):
        Loading(revisoin="main")  # type: ignore[call-arg]


def test_torch_is_not_imported_to_say_how_to_load() -> None:
    program = "from saelex.loading import Loading; Loading(dtype='float32').place; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", f"import sys; {program}"], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
