"""Where this machine's Chromium is: for pictures and figures of the page, and for its tests."""

from __future__ import annotations

import os
import shutil

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium_path() -> str | None:
    """What SAELEX_CHROMIUM names, else the first that is installed; None where there is none."""
    return os.environ.get("SAELEX_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
