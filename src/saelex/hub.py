"""Asking the Hugging Face hub: whether it answers at all, found within seconds, and one line for what it refuses.

Left to themselves, huggingface_hub and what is built on it try again for most of a minute where nobody answers. Here
the hub is asked for its front page first. Where that fails, the process works offline for the next `_REMEMBERED`
seconds, as with HF_HUB_OFFLINE=1: what the cache holds loads all the same, and the rest is an error at once.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from saelex.errors import InputError

_PATIENCE = 2.0  # seconds in which the hub is to take a call, and again to answer it
_REMEMBERED = 30.0  # seconds for which the answer holds
_UNAVAILABLE = (500, 502, 503, 504)
_HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")


class _Answer(NamedTuple):
    endpoint: str
    until: float
    refusal: str | None


_last: _Answer | None = None


@contextmanager
def asking_hub(name: str, *, kind: str = "model") -> Iterator[None]:
    """Around whatever asks the hub for `name`, be it by transformers: InputError, one line, where it fails.

    name: a hub id; for a path that is there nobody is asked, and nothing caught. kind: what messages call it. A file
    that the repository does not have stays an EntryNotFoundError.
    """
    if Path(name).exists():
        yield
        return
    from huggingface_hub import errors

    of_transport: type[Exception] = errors.HfHubHTTPError.__bases__[0]  # httpx's, under whatever name it is installed
    why = unreachable()
    try:
        yield
    except errors.LocalEntryNotFoundError as error:
        raise _not_cached(name, why, error) from error
    except errors.EntryNotFoundError:
        raise
    except errors.GatedRepoError as error:
        raise InputError(f"{name} is gated: accept its licence on the hub and give a token (hf auth login)") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        raise InputError(
            f"no folder and no hub {kind} named {name} ({_reason(error)}); a private one needs a token (hf auth login)"
        ) from error
    except (of_transport, OSError) as error:
        if why is not None or isinstance(error, errors.OfflineModeIsEnabled):
            raise _not_cached(name, why, error) from error
        raise InputError(
            f"{name} cannot be had from the hub ({_reason(error)}); check the name and your access (hf auth login)"
        ) from error


def check_obtainable(source: str) -> None:
    """Raises InputError where `source` is a hub id, the cache holds nothing of it, and the hub does not answer.

    Worth asking before what takes seconds by itself, such as importing torch; all other names pass.
    """
    if not _HUB_ID.fullmatch(source) or Path(source).exists():
        return
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    if not Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=source, repo_type="model")).is_dir():
        why = unreachable()
        if constants.HF_HUB_OFFLINE:
            raise _not_cached(source, why)


def unreachable() -> str | None:
    """Why the hub does not answer, or None where it does or HF_HUB_OFFLINE says not to ask it.

    Where it does not answer, huggingface_hub, transformers and datasets go by their caches until it is asked again.
    """
    global _last
    from huggingface_hub import constants

    if _last is None or _last.endpoint != constants.ENDPOINT or time.monotonic() > _last.until:
        found_offline = _last is not None and _last.refusal is not None
        if constants.HF_HUB_OFFLINE and not found_offline:
            return None
        _work_offline(False)
        refusal = _refusal(constants.ENDPOINT)
        _last = _Answer(constants.ENDPOINT, time.monotonic() + _REMEMBERED, refusal)
    if _last.refusal is not None:
        _work_offline(True)
    return _last.refusal


def _refusal(endpoint: str) -> str | None:
    """Ask for the front page, in a thread: the search for a host's address heeds no timeout."""
    from huggingface_hub import get_session

    outcome: list[str | None] = []

    def ask() -> None:
        try:
            status = get_session().head(endpoint, timeout=_PATIENCE).status_code
            outcome.append(f"{endpoint} answers {status}" if status in _UNAVAILABLE else None)
        except Exception as error:  # of httpx, the system or a proxy: all mean that nobody answers
            outcome.append(f"{endpoint}: {_reason(error)}")

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(2 * _PATIENCE)
    return outcome[0] if outcome else f"{endpoint} does not answer"


def _work_offline(offline: bool) -> None:
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = offline
    config: Any = getattr(sys.modules.get("datasets"), "config", None)
    if config is not None:
        config.HF_HUB_OFFLINE = offline


def _not_cached(name: str, why: str | None, error: Exception | None = None) -> InputError:
    from huggingface_hub import constants

    reason = why or (_reason(error) if error and not constants.HF_HUB_OFFLINE else "HF_HUB_OFFLINE is set")
    return InputError(f"{name} is not in the local cache and the hub cannot be reached ({reason}); give a folder")


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
