"""From a folder or a hub id to an SAE's parts, whatever its format."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from saelex.errors import InputError
from saelex.files import expanded, recover_folder
from saelex.hub import asking_hub
from saelex.loading import Loading
from saelex.reading.regular import is_here
from saelex.sae.catalogue import resolve
from saelex.sae.formats.common import RAW, SaeFormat, Wanted
from saelex.sae.formats.dictionary_learning import DICTIONARY_LEARNING
from saelex.sae.formats.gemma_scope import GEMMA_SCOPE
from saelex.sae.formats.gemma_scope_2 import GEMMA_SCOPE_2
from saelex.sae.formats.goodfire import GOODFIRE
from saelex.sae.formats.llama_scope import LLAMA_SCOPE
from saelex.sae.formats.openmoss import OPENMOSS
from saelex.sae.formats.qwen_scope import QWEN_SCOPE
from saelex.sae.formats.saelens import SAELENS
from saelex.sae.formats.sparsify import SPARSIFY
from saelex.sae.parts import SaeParts

FORMATS: tuple[SaeFormat, ...] = (
    SAELENS,
    GEMMA_SCOPE,
    GEMMA_SCOPE_2,
    LLAMA_SCOPE,
    OPENMOSS,
    QWEN_SCOPE,
    SPARSIFY,
    DICTIONARY_LEARNING,
    GOODFIRE,
)

_SUFFIXES = (".npz", ".safetensors", ".json", ".pt", ".pth")  # what makes a path in a repository a file's


def load_parts(
    source: str | Path,
    path_in_repo: str | None,
    loading: Loading,
    *,
    format: str | None = None,
    activation_scale: str = RAW,
    decoder: bool = True,
) -> SaeParts:
    """The parts of an SAE; `SparseAutoencoder.load` says what the arguments mean."""
    if format is not None and format not in {known.name for known in FORMATS}:
        raise InputError(f"unknown SAE format {format!r}; use one of {', '.join(known.name for known in FORMATS)}")
    folder, entry = expanded(source), None
    recover_folder(folder)
    if not is_here(folder) and (entry := resolve(source, path_in_repo)) is not None:
        source, path_in_repo, format = entry.repo, entry.path_in_repo, format or entry.suite.format
    named = f"{source}/{path_in_repo}" if path_in_repo else str(source)
    if entry is None and is_here(folder):
        folder = folder / path_in_repo if path_in_repo else folder
        named = str(folder.resolve())  # so that a relative path still names layer and model
    else:
        folder = _download(str(source), path_in_repo, format, loading)
    file = folder if folder.is_file() else None
    folder = folder if file is None else folder.parent
    known = _recognise(folder, file, _asked(format), named)
    if activation_scale not in known.scales:
        scales = " or ".join(known.scales)
        raise InputError(f"{named}: activation_scale is {scales} for {known.name}, not {activation_scale!r}")
    parts = known.read(folder, Wanted(named, file, activation_scale, decoder))
    return parts if entry is None else parts._replace(config=entry.completed(parts.config))


def _asked(format: str | None) -> list[SaeFormat]:
    return [known for known in FORMATS if format in (None, known.name)]


def _recognise(folder: Path, file: Path | None, asked: list[SaeFormat], named: str) -> SaeFormat:
    for known in asked:
        if known.recognises(folder, file):
            return known
    wanted = "; ".join(f"{known.name}: {' + '.join(known.required)}" for known in asked)
    raise InputError(f"{named}: no SAE here; name the SAE's own folder, which holds the files of a format ({wanted})")


def _download(repo: str, path_in_repo: str | None, format: str | None, loading: Loading) -> Path:
    """The files of one SAE from the hub (or its cache): only those its format has, not the other SAEs of the suite."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise InputError(f"{repo}: no such folder, and not a hub id of the form owner/name")
    from huggingface_hub import snapshot_download

    place = PurePosixPath(path_in_repo or "")
    is_file = place.suffix in _SUFFIXES
    folder = place.parent if is_file else place
    named = {str(folder / name) for known in _asked(format) for name in known.files}
    patterns = {name for name in named if "*" in name}
    with asking_hub(f"{repo}/{place}" if place.name else repo, kind="SAE"):
        one = [str(place)] if is_file else _the_only_file(repo, patterns, loading)
        root = snapshot_download(repo, allow_patterns=sorted((named - patterns).union(one)), **loading.hub)
    return Path(root) / place


def _the_only_file(repo: str, patterns: set[str], loading: Loading) -> list[str]:
    """What a repository has of the files that stand for an SAE each: one at most. Raises InputError for several.

    Nothing where there are no such files, or the hub cannot be asked: then its cache has the answer.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    if not patterns:
        return []
    try:
        held = HfApi(token=loading.token).list_repo_files(repo, revision=loading.revision)
    except (HfHubHTTPError, OSError):
        return []
    found = sorted(name for name in held if any(PurePosixPath(name).match(pattern) for pattern in patterns))
    if len(found) > 1:
        raise InputError(f"{repo}: holds {len(found)} SAEs; name one file, such as {found[0]}, as path_in_repo")
    return found
