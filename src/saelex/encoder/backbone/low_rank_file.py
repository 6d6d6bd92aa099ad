"""The file of a low-rank update, read as arrays: what `LowRankUpdate.load` reads for torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.digest import arrays_digest
from saelex.errors import InputError, MismatchError
from saelex.files import expanded, fact_of
from saelex.reading.tensors import SafetensorsFile

FORMAT = "saelex-low-rank/1"
FACTORS = ("A", "B")
"""B @ A is added to a weight [d_out, d_in]: A is [rank, d_in], B [d_out, rank]."""


def open_low_rank(path: str | Path) -> tuple[SafetensorsFile, list[str]]:
    """The file, and the names of the modules that it changes. Raises InputError for a damaged or foreign file."""
    path = expanded(path)
    file = SafetensorsFile(path)
    if (written := file.metadata.get("format")) != FORMAT:
        raise InputError(f"{path}: not a low-rank update (format {written!r:.60}, this version reads {FORMAT})")
    modules = sorted({name.rpartition(".")[0] for name in file})
    wanted = {f"{module}.{factor}" for module in modules for factor in FACTORS}
    if wanted != file.keys():
        raise InputError(f"{path}: {min(wanted ^ file.keys())} has no counterpart; fetch or save the model again")
    return file, modules


class LowRankFile:
    """weight += B @ A for some linear modules of a backbone. modules: their names, as in `LowRankUpdate.factors`.

    Raises InputError for a missing, damaged or foreign file, and for factors that do not fit together.
    """

    def __init__(self, path: str | Path) -> None:
        self._file, modules = open_low_rank(path)
        self.modules = frozenset(modules)
        for name in modules:
            A, B = (self._file.shape(f"{name}.{factor}") for factor in FACTORS)
            if len(A) != 2 or len(B) != 2 or A[0] != B[1] or not A[0]:
                raise InputError(
                    f"low-rank update of {name}: A is [rank, d_in] and B [d_out, rank], not {list(A)} and {list(B)}"
                )

    def digest(self) -> str:
        """sha256 over names, shapes and float32 values; remembered with the file."""

        def compute() -> str:
            return arrays_digest({name: self._file.weight_array(name) for name in self._file})

        return fact_of(self._file.path, "digest of a low-rank update", compute)

    def merged(self, module: str, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """The module's weight with its update added; itself where it has none."""
        if module not in self.modules:
            return weight
        A, B = (self._file.weight_array(f"{module}.{factor}").astype(np.float32) for factor in FACTORS)
        if (len(B), A.shape[1]) != weight.shape:
            raise MismatchError(
                f"the low-rank update of {module} is {[len(B), A.shape[1]]}, the backbone's weight {list(weight.shape)}"
            )
        update: NDArray[np.float32] = B @ A
        update += weight
        return update
