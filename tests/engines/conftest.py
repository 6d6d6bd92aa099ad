from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.engines.places import Places


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """Where new collections can be made; the servers run as long as the session."""
    made = Places(tmp_path_factory.mktemp("engines"))
    yield made
    made.close()
