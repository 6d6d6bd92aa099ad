"""What members of the engine protocol check alike, against caps that no member has yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from saelex.errors import InputError
from saelex.index.engine import Hits, Limits, check_columns, check_documents, check_queries
from saelex.vectors import SparseRows


class Capped:
    """An engine that only checks."""

    n_latents = 8
    limits = Limits(n_latents=1000, n_nonzero=2, weight=5.0)

    def __len__(self) -> int:
        return 0

    def add(self, ids: Sequence[str], vectors: SparseRows) -> None:
        check_documents(self, ids, vectors)

    def delete(self, ids: Iterable[str]) -> None:
        raise NotImplementedError

    def search(self, queries: SparseRows, k: int = 10) -> Hits:
        check_queries(self, queries, k)
        return Hits([], [])

    def close(self) -> None:
        pass


def test_caps_are_named_before_anything_is_written() -> None:
    engine = Capped()
    engine.add(["a"], SparseRows.from_dicts([{0: 5.0, 7: 1.0}], 8))
    with pytest.raises(InputError, match="active latents in one vector: 3; this engine takes at most 2"):
        engine.add(["a", "b"], SparseRows.from_dicts([{0: 1.0}, {0: 1.0, 1: 1.0, 2: 1.0}], 8))
    with pytest.raises(InputError, match=r"the heaviest weight: 5\.5; this engine takes at most 5\.0"):
        engine.add(["a"], SparseRows.from_dicts([{0: 5.5}], 8))
    with pytest.raises(InputError, match="latents: 70,000; this engine takes at most 1,000"):
        check_columns(70_000, Capped.limits)
    with pytest.raises(InputError, match="at least one latent, not 0"):
        check_columns(0, Limits())
