"""What is asked of settings in more than one place: bounds of numbers, and the gate of a published SAE."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from saelex.errors import InputError
from saelex.files import expanded
from saelex.reading.regular import is_here
from saelex.sae.catalogue import resolve
from saelex.training.retrieval.settings import ModelRecipe

TOPK_GATES = ("topk", "batch_topk")


def published_gate(model: ModelRecipe) -> str | None:
    """The gate of an SAE that the catalogue knows, None for others. Raises InputError for a misspelt name."""
    if model.head != "sae" or not model.sae or is_here(expanded(model.sae)):
        return None
    entry = resolve(model.sae, model.sae_file)
    return None if entry is None else entry.suite.gate


def at_least(least: int, section: Any, prefix: str, *names: str) -> None:
    """Raises InputError where one of the section's settings is less; null is none."""
    for name, value in _given(section, names):
        if not least <= value < math.inf:
            raise InputError(f"{prefix}.{name} is at least {least}, not {value}")


def positive(section: Any, prefix: str, *names: str) -> None:
    """Raises InputError where one of the section's settings is not above 0; null is none."""
    for name, value in _given(section, names):
        if not 0 < value < math.inf:
            raise InputError(f"{prefix}.{name} is a positive number, not {value}")


def share(section: Any, prefix: str, *names: str) -> None:
    """Raises InputError where one of the section's settings is not from 0 to below 1; null is none."""
    for name, value in _given(section, names):
        if not 0 <= value < 1:
            raise InputError(f"{prefix}.{name} is at least 0 and less than 1, not {value}")


def _given(section: Any, names: Iterable[str]) -> Iterable[tuple[str, float]]:
    """The settings that are not null."""
    return ((name, value) for name in names if (value := getattr(section, name)) is not None)
