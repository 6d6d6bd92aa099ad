"""The package `datasets`, which reads the Hugging Face hub, and what it may say when it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import ModuleType

from saelex.errors import InputError
from saelex.files import expanded
from saelex.hub import unreachable
from saelex.installation import needs_extra


def import_datasets() -> ModuleType:
    """The package; InputError with the extra to install where it is missing."""
    try:
        return import_module("datasets")
    except ImportError as error:
        raise needs_extra("a hub data set", "datasets", "hub-data") from error


@contextmanager
def one_clear_error(name: str) -> Iterator[None]:
    """InputError, one line, for whatever `datasets` raises: no such data set, config or split, no network."""
    why = None if expanded(name.partition(" ")[0]).exists() else unreachable()
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, import_datasets().exceptions.DatasetsError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        reason = reason if why is None else f"the hub cannot be reached ({why})"
        raise InputError(f"{name}: cannot be loaded as a data set: {reason}") from error


def newest_revision(repo: str) -> str | None:
    """The hub's newest commit, so that what was read can be named; None where the hub cannot be asked."""
    unreachable()
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    with suppress(HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, OSError):
        return HfApi().dataset_info(repo).sha
    return None
