"""Where figures come from: the machine and the versions that gave them."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "saelex", "torch", "transformers", "tokenizers", "numpy", "scipy", "numba", "ir-measures", "pytrec-eval-terrier",
    "bm25s", "PyStemmer", "datasets", "ir-datasets",
)  # fmt: skip


def provenance(command: str = "") -> dict[str, Any]:
    """As JSON values: "command", "date" (UTC), "versions" and "machine"."""
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"command": command, "date": date, "versions": versions(PACKAGES), "machine": machine()}


def machine() -> dict[str, Any]:
    """CPU model, the cores this process may use, memory in GiB (None where the system does not tell), and system."""
    return {
        "cpu": _line_of("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory(),
        "system": platform.platform(),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions, Python's first; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _line_of(path: str, key: str) -> str:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")
