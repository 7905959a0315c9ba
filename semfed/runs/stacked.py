"""Seeds of an arm that train side by side in one process: their clients are stacked, each trial has its own folder."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from semfed.engine.lockstep import Lockstep, in_threads
from semfed.flower.client.app import serve_together
from semfed.flower.client.cache import ProcessCache
from semfed.runs import trials
from semfed.scenario import Scenario
from semfed.training.isolation import isolated


def perform_together(
    run: Path,
    scenario: Scenario,
    wanted: Sequence[tuple[str, int]],
    data_root: Path | None,
    cache: ProcessCache,
    options: Mapping[str, Any],
    watch: Callable[[], object],
) -> None:
    """Run trials in step, each as `semfed.runs.trials.perform` does, from its last checkpoint if it has one.

    Those that another process runs are left out. What ends a trial is in its folder; the others go on.

    Parameters
    ----------
    run : Path
        The run folder.
    scenario : Scenario
        Of the run.
    wanted : sequence of (str, int)
        Arms and seeds.
    data_root : Path or None
    cache : ProcessCache
        Of this process.
    options : mapping
        Of the engine `inprocess`; its ``cohort`` is ``"auto"`` by default.
    watch : callable
        Called now and then.
    """
    with ExitStack() as locks:
        mine = []
        for arm, seed in wanted:
            folder = trials.folder_of(run, arm, seed)
            lock = trials.claim(folder)
            if lock is not None:
                locks.enter_context(lock)
                if not trials.has_ended(folder):
                    mine.append((folder, arm, seed))
        cohort = options.get("cohort", "auto")
        lockstep = Lockstep(partial(serve_together, cache=cache, cohort=cohort), len(mine))
        jobs = [
            partial(
                trials.perform,
                folder,
                scenario,
                arm,
                seed,
                data_root,
                cache,
                {**options, "cohort": cohort, "together": lockstep.together(place)},
            )
            for place, (folder, arm, seed) in enumerate(mine)
        ]
        with isolated():  # what is global is put back when the last of them is over
            in_threads(jobs, lockstep, watch)
