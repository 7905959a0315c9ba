from collections.abc import Iterator

import pytest

from semfed.training import one_thread


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Matrices this small gain nothing from threads."""
    with one_thread():
        yield
