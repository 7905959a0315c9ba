"""A Ray cluster of the tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray

PLUGINS = Path(__file__).parent / "plugins"


@contextmanager
def ray_cluster(cpus: int) -> Iterator[None]:
    """Start a cluster that knows the plugins of the tests, and end it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(PLUGINS))
        patch.syspath_prepend(PLUGINS)
        ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()
