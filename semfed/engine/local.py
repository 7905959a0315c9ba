"""The engines that a run drives itself, behind one door."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from flwr.serverapp import Grid

from semfed.engine.inprocess import InProcessGrid
from semfed.engine.nodes import AT_ONCE
from semfed.flower.client.app import make_client_app, serve_together
from semfed.flower.client.cache import ProcessCache
from semfed.flower.compat import task_identity


@contextmanager
def local_grid(
    engine: str,
    sizes: Sequence[float],
    data_root: Path | None,
    state_dir: Path | None = None,
    *,
    cache: ProcessCache | None = None,
    **options: Any,
) -> Iterator[Grid]:
    """Provide a grid with one node a client, and end what it started.

    Parameters
    ----------
    engine : {"inprocess", "ray"}
    sizes : sequence of float
        Work per client; its length is the number of clients.
    data_root : Path or None
    state_dir : Path, optional
        Where nodes keep their clients' states for checkpoints.
    cache : ProcessCache, optional
        With data that this process has opened already, for clients that live in it.
    **options
        Of `InProcessGrid`, with ``cohort`` beside them (see `serve_together`), or `semfed.engine.ray.grid.RayGrid`.
    """
    run_config = {"data-root": str(data_root or ""), "state-dir": str(state_dir or "")}
    with task_identity():
        if engine == "inprocess":
            kept = cache or ProcessCache()
            app = make_client_app(cache=kept)
            cohort = options.pop("cohort", 1)
            if cohort != 1 and "together" not in options:
                options["together"] = partial(serve_together, cache=kept, cohort=cohort)
            if isinstance(cohort, int):
                options["at_once"] = max(cohort, AT_ONCE)
            with closing(InProcessGrid(app, len(sizes), run_config, **options)) as grid:
                yield grid
            return
        from semfed.engine.ray.grid import RayGrid

        with closing(RayGrid(sizes, run_config, **options)) as cluster:
            yield cluster
