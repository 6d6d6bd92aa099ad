"""Which runtime computes: as it was asked for, or what suits this process and machine."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from saelex.encoder.runtimes.runtime import Arithmetic, Precision, RuntimeChoice
from saelex.installation import needs_extra
from saelex.loading import Loading

_PACKAGED = ("onnxruntime", "openvino")
# what the drivers of NVIDIA and AMD show, without torch being asked: Linux, Linux under Windows, AMD
_GPUS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")


def choose(runtime: RuntimeChoice, precision: Precision | None, loading: Loading) -> Arithmetic | None:
    """The arithmetic; None: torch's modules.

    "auto" is torch where a device or a dtype is named, where this process has imported torch already, and where there
    is a GPU; elsewhere it is numpy, which computes float32 no slower and imports nothing. Raises InputError for a
    package that is missing.
    """
    if runtime == "torch" or (runtime == "auto" and _suits_torch(loading)):
        return None
    if runtime in _PACKAGED and find_spec(runtime) is None:
        raise needs_extra(f"the runtime {runtime}", runtime, runtime)
    return Arithmetic("numpy" if runtime == "auto" else runtime, precision or "float32")


def _suits_torch(loading: Loading) -> bool:
    elsewhere = loading.device is not None and str(loading.device) != "cpu"
    return elsewhere or loading.dtype is not None or "torch" in sys.modules or (_may_have_gpu() and has_torch())


def has_torch() -> bool:
    """Whether torch is installed; it is not imported."""
    return find_spec("torch") is not None


def _may_have_gpu() -> bool:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    here = any(Path(device).exists() for device in _GPUS)
    return not hidden and (here or (sys.platform == "win32" and _windows_driver().is_file()))


def _windows_driver() -> Path:
    return Path(os.environ.get("SYSTEMROOT", "C:/Windows")) / "System32" / "nvcuda.dll"
