"""Reading `.pt` and `.pth` files: tensors only, never code."""

from __future__ import annotations

import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saelex.errors import InputError

_ZIP = b"PK\x03\x04"  # how torch.save's files begin since 1.6; older ones cannot be memory-mapped


def read_pt(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that torch.save wrote of a dictionary, by name; memory-mapped where it is a zip file.

    Raises InputError if the file is missing or damaged, holds no dictionary of tensors, or anything whose reading runs
    code.
    """
    try:
        held = _load(path)
    except (OSError, EOFError, RuntimeError, ValueError, LookupError, AttributeError, pickle.UnpicklingError) as error:
        if isinstance(error, pickle.UnpicklingError) and (found := re.search(r"GLOBAL (\S+)", str(error))):
            raise InputError(
                f"{path}: holds more than tensors ({found.group(1)}), and reading that could run code; "
                "use a safetensors version, or convert it where you trust it"
            ) from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: not a readable PyTorch file ({reason[:160]}); download it again") from error
    tensors = {name: value for name, value in held.items() if isinstance(value, Tensor)} if _is_named(held) else {}
    if not tensors:
        raise InputError(f"{path}: does not hold a dictionary of tensors; it is not this kind of SAE")
    return tensors


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        mapped = file.read(len(_ZIP)) == _ZIP
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pickle protocols: what cannot be read raises
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def _is_named(held: Any) -> bool:
    return isinstance(held, dict) and all(isinstance(name, str) for name in held)
