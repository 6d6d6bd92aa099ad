"""Triton's compiler on every kernel, in a process of its own: in this one they belong to the interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.encoder.pooling.problems import without_triton

ROOT = Path(__file__).parents[3]
UNITS = {80: "mma.sync", 90: "wgmma", 100: "tcgen05"}
TARGETS = {80: "sm_80", 90: "sm_90a", 100: "sm_100a"}

QUICK = """
wanted = [(kernel, arch, tiles_of(kernel)[-1], "bf16", 64)
          for kernel, arch in (("linear_max", 90), ("token_topk", 100), ("sum_rows", 80))]
"""
THOROUGH = """
wanted = [(kernel, arch, tile, "bf16", slots)
          for kernel, slots in (("linear_max", 64), ("token_topk", 64), ("token_topk", 256), ("sum_rows", 64))
          for arch in (80, 90, 100) for tile in tiles_of(kernel, "bf16", slots)]
wanted += [(kernel, 90, tiles_of(kernel, dtype)[0], dtype, 64)
           for kernel in ("linear_max", "token_topk") for dtype in ("fp16", "fp32")]
"""
FRAME = """
import json
from head_on_paper import compiled, tiles_of
{body}
made = [(kernel, arch, dtype, compiled(kernel, arch, tile, dtype, slots))
        for kernel, arch, tile, dtype, slots in wanted]
print(json.dumps([(*what, one.ptx.split(".target ")[1].split()[0].strip(","), one.unit(), one.shared)
                  for *what, one in made]))
"""

pytestmark = without_triton


def compile_all(body: str, cache: Path) -> list[Any]:
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "benchmarks")])
    settings = {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(cache), "PYTHONPATH": paths}
    command = [sys.executable, "-c", FRAME.format(body=body)]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def check(found: list[Any]) -> None:
    for kernel, capability, dtype, target, unit, shared in found:
        assert target == TARGETS[capability]
        # float32 is not rounded to what tensor cores read
        assert unit == ("none" if kernel == "sum_rows" or dtype == "fp32" else UNITS[capability]), (kernel, dtype)
        assert shared <= 163 * 1024, kernel  # what a program on A100 may have; newer GPUs allow more


def test_each_kernel_and_each_architecture_compiles_without_a_gpu(tmp_path):
    found = compile_all(QUICK, tmp_path)
    assert len(found) == 3
    check(found)


@pytest.mark.slow
def test_every_kernel_and_tile_compiles_for_every_architecture(tmp_path):
    found = compile_all(THOROUGH, tmp_path)
    assert len(found) == 3 * (4 + 2 + 2 + 1) + 2 * 2
    check(found)
