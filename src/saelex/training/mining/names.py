"""What stands for a model in a file that is shared: never the whole path of somebody's folder."""

from __future__ import annotations

from collections.abc import Sequence

from saelex.files import expanded


def short_names(models: Sequence[str]) -> list[str]:
    """The end of a folder's path, as much of it as tells it from the others; any other name as it is."""
    parts = [expanded(model).resolve().parts if expanded(model).is_dir() else (model,) for model in models]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(of[-length:]) for of in parts]
        if len(set(names)) == len(set(parts)):
            return names
    return []
