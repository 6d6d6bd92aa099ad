"""Which class is behind the scheme of a URL; its module is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module

from saelex.engines.store import Store
from saelex.engines.url import STORES, EngineUrl
from saelex.errors import InputError


def store_class(url: EngineUrl) -> type[Store]:
    """The class behind a URL's scheme. Raises InputError for an option that it does not have."""
    module, _, name = STORES[url.scheme].partition(":")
    found: type[Store] = getattr(import_module(f"saelex.engines.{module}"), name)
    for option in url.options:
        if option not in found.options:
            known = ", ".join(sorted(found.options)) or "none"
            raise InputError(f"{url}: no option {option!r}; {url.scheme} has {known}")
    return found
