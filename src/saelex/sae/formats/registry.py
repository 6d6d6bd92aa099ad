"""From a folder or a hub id to an SAE, whatever its format."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from saelex.errors import InputError
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.catalogue import resolve
from saelex.sae.formats.common import RAW, SaeFormat, Wanted
from saelex.sae.formats.gemma_scope import GEMMA_SCOPE
from saelex.sae.formats.llama_scope import LLAMA_SCOPE
from saelex.sae.formats.saelens import SAELENS

FORMATS: tuple[SaeFormat, ...] = (SAELENS, GEMMA_SCOPE, LLAMA_SCOPE)

_SUFFIXES = (".npz", ".safetensors", ".json", ".pt", ".pth")  # what makes a path in a repository a file's


def load_sae(
    source: str | Path,
    path_in_repo: str | None = None,
    *,
    format: str | None = None,
    revision: str | None = None,
    token: str | None = None,
    activation_scale: str = RAW,
    decoder: bool = True,
) -> SparseAutoencoder:
    """Load an SAE; `SparseAutoencoder.load` says what the arguments mean."""
    if format is not None and format not in {known.name for known in FORMATS}:
        raise InputError(f"unknown SAE format {format!r}; use one of {', '.join(known.name for known in FORMATS)}")
    folder, entry = Path(source), None
    if not folder.exists() and (entry := resolve(source, path_in_repo)) is not None:
        source, path_in_repo, format = entry.repo, entry.path_in_repo, format or entry.suite.format
    named = f"{source}/{path_in_repo}" if path_in_repo else str(source)
    if entry is None and folder.exists():
        folder = folder / path_in_repo if path_in_repo else folder
        named = str(folder.resolve())  # so that a relative path still names layer and model
    else:
        folder = _download(str(source), path_in_repo, revision, token)
    file = folder if folder.is_file() else None
    folder = folder if file is None else folder.parent
    known = _recognise(folder, file, format, named)
    if activation_scale not in known.scales:
        scales = " or ".join(known.scales)
        raise InputError(f"{named}: activation_scale is {scales} for {known.name}, not {activation_scale!r}")
    sae = known.read(folder, Wanted(named, file, activation_scale, decoder))
    if entry is not None:
        sae.config = entry.completed(sae.config)
    return sae


def _recognise(folder: Path, file: Path | None, format: str | None, named: str) -> SaeFormat:
    asked = [known for known in FORMATS if format in (None, known.name)]
    for known in asked:
        if known.recognises(folder, file):
            return known
    wanted = "; ".join(f"{known.name}: {' + '.join(known.required)}" for known in asked)
    raise InputError(f"{named}: no SAE here; name the SAE's own folder, which holds the files of a format ({wanted})")


def _download(repo: str, path_in_repo: str | None, revision: str | None, token: str | None) -> Path:
    """The files of one SAE from the hub (or its cache): only those any format has, not the other SAEs of the suite."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise InputError(f"{repo}: no such folder, and not a hub id of the form owner/name")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    place = PurePosixPath(path_in_repo or "")
    is_file = place.suffix in _SUFFIXES
    folder = place.parent if is_file else place
    wanted = [str(folder / name) for known in FORMATS for name in known.files if not (is_file and "*" in name)]
    wanted += [str(place)] if is_file else []
    try:
        root = snapshot_download(repo, revision=revision, token=token, allow_patterns=wanted)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{repo}{f'/{place}' if place.name else ''}: cannot be had from the hub ({reason}); "
            "check the name and your access, or give a folder"
        ) from error
    return Path(root) / place
