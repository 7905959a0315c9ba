from collections.abc import Iterator

import pytest

from semfed.training.isolation import isolated


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Matrices this small gain nothing from threads."""
    with isolated():
        yield
