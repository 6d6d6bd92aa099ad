from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
from tests.encoder.pooling.problems import make_head, make_hidden, without_triton

from saelex.encoder.head import LinearHead
from saelex.encoder.pooling import devices, triton
from saelex.encoder.pooling.devices import CUDA_HEAD, OPERATIONS, operations_named, operations_of
from saelex.errors import InputError
from saelex.sae.activations import TopK

HEAD = make_head("relu")
UNBUILT = triton._unbuilt.__wrapped__  # the check itself, before a test replaces it


def on_gpu(dtype: torch.dtype = torch.bfloat16) -> SimpleNamespace:
    """What is asked of hidden states on a GPU, which is not at hand."""
    return SimpleNamespace(device=torch.device("cuda", 1), dtype=dtype)


@pytest.fixture(autouse=True)
def hopper(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(triton, "_unbuilt", lambda device: None)
    monkeypatch.delenv(CUDA_HEAD, raising=False)
    devices._say.cache_clear()


def test_a_device_without_operations_of_its_own_has_plain_pytorchs():
    hidden = make_hidden([3])
    assert operations_of(hidden, HEAD) is OPERATIONS["cpu"]
    assert operations_of(hidden.to("meta"), HEAD) is OPERATIONS["torch"] is operations_named("torch", hidden, HEAD)


def test_anothers_operations_are_refused():
    with pytest.raises(InputError, match="'cuda' reads tensors on a cuda device, and these are on cpu"):
        operations_named("cuda", make_hidden([3]), HEAD)


@without_triton
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_gpu_has_tritons_kernels_for_half_precision(dtype, caplog):
    assert operations_of(on_gpu(dtype), HEAD) is OPERATIONS["triton"]
    assert not caplog.records


def everything() -> dict[str, tuple[torch.dtype, LinearHead, str]]:
    wide = LinearHead(torch.ones(300, 8), torch.zeros(300), TopK(257))
    return {
        "float32": (torch.float32, HEAD, "in float32, Triton's kernels have no tensor cores to use"),
        "float64": (torch.float64, HEAD, "sum in float32, and the hidden states are float64"),
        "weight": (torch.float16, make_head("relu").double(), "sum in float32, and the weight are float64"),
        "topk": (torch.bfloat16, wide, "at most 256 latents per token, and the gate is TopK\\(257\\)"),
    }


@without_triton
@pytest.mark.parametrize(("dtype", "head", "reason"), everything().values(), ids=everything())
def test_what_the_kernels_are_not_for_goes_pytorchs_way_and_is_said_once(dtype, head, reason, caplog):
    for _ in range(2):
        assert operations_of(on_gpu(dtype), head) is OPERATIONS["cuda"]
    (record,) = caplog.records
    assert re.search(reason, record.getMessage())


def test_without_triton_a_gpu_goes_pytorchs_way(monkeypatch, caplog):
    monkeypatch.setattr(triton, "_missing", lambda: "Triton is not installed")
    assert operations_of(on_gpu(), HEAD) is OPERATIONS["cuda"]
    assert "Triton is not installed" in caplog.text
    with pytest.raises(InputError, match="pooling by 'triton' is not possible: Triton is not installed"):
        operations_named("triton", on_gpu(), HEAD)


@without_triton
def test_where_triton_builds_nothing_a_gpu_goes_pytorchs_way(monkeypatch, caplog):
    def no_compiler(*tensors):
        raise RuntimeError("Failed to find C compiler.\nPlease specify one")

    monkeypatch.setattr(triton, "_unbuilt", lambda device: UNBUILT(torch.device("cpu")))
    assert operations_of(on_gpu(), HEAD) is OPERATIONS["triton"]
    monkeypatch.setattr(triton, "_sum_rows", no_compiler)
    assert operations_of(on_gpu(), HEAD) is OPERATIONS["cuda"]
    assert "Triton cannot build its kernels here: Failed to find C compiler. Please specify one" in caplog.text


@without_triton
def test_kernels_do_not_run_on_a_cpu_uninterpreted(monkeypatch):
    monkeypatch.setattr(triton, "_interpreted", lambda: False)
    with pytest.raises(InputError, match="run on NVIDIA GPUs, and the hidden states are on cpu"):
        operations_named("triton", make_hidden([3]), HEAD)


@without_triton
def test_old_and_other_gpus_go_pytorchs_way(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert operations_of(on_gpu(torch.float16), HEAD) is OPERATIONS["cuda"]
    monkeypatch.setattr(torch.version, "hip", "6.4")
    with pytest.raises(InputError, match="NVIDIA"):
        operations_named("triton", on_gpu(), HEAD)


@without_triton
def test_the_environment_has_the_last_word(monkeypatch):
    monkeypatch.setenv(CUDA_HEAD, "cuda")
    assert operations_of(on_gpu(), HEAD) is OPERATIONS["cuda"]
    monkeypatch.setenv(CUDA_HEAD, "triton")
    assert operations_of(on_gpu(torch.float32), HEAD) is OPERATIONS["triton"]
    with pytest.raises(InputError, match=f"{CUDA_HEAD} is triton, but .* float64"):
        operations_of(on_gpu(torch.float64), HEAD)
    monkeypatch.setenv(CUDA_HEAD, "cutlass")
    with pytest.raises(InputError, match=f"{CUDA_HEAD} is triton or cuda, not 'cutlass'"):
        operations_of(on_gpu(), HEAD)
