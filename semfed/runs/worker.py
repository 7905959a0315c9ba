"""A process beside a run's own that trains some of its trials: ``python -m semfed.runs.worker``.

Its orders are a line of JSON on standard input, which stays open as long as the run's process lives: at its end this
one ends, too, whatever ended the other. Which trial comes next, processes settle by locks in the run folder.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from semfed.flower.client.cache import ProcessCache
from semfed.runs import folder as folders
from semfed.runs import origins, trials
from semfed.runs.pool import FAILED, in_turn
from semfed.scenario import Scenario, read, validate

POLL_S = 0.1


def work(
    run: Path, scenario: Scenario, wanted: Iterable[tuple[str, int]], data_root: Path | None, options: dict[str, Any]
) -> int:
    """Train trials that nobody else trains until all have ended, or one fails here; return the exit status.

    Parameters
    ----------
    run : Path
        The run folder.
    scenario : Scenario
        Of the run.
    wanted : iterable of (str, int)
        Arms and seeds, in the order of the grid.
    data_root : Path or None
    options : dict
        Of the engine `inprocess`.
    """
    cache, mine = ProcessCache(), set[int]()
    pending = list(wanted)
    while pending := [one for one in pending if not trials.has_ended(trials.folder_of(run, *one))]:
        begun = {seed for arm, seed in pending if trials.folder_of(run, arm, seed).is_dir()}
        for arm, seed in in_turn(pending, mine, begun):
            folder = trials.folder_of(run, arm, seed)
            lock = trials.claim(folder)
            if lock is not None:
                with lock:
                    if not trials.has_ended(folder):
                        mine.add(seed)
                        try:
                            trials.perform(folder, scenario, arm, seed, data_root, cache, options)
                        except Exception:
                            return FAILED
                break
        else:
            time.sleep(POLL_S)
    return 0


def _end_with_the_run() -> None:
    sys.stdin.buffer.read()
    os._exit(FAILED)


def main() -> int:
    """Read the orders and follow them."""
    orders = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    run = Path(orders["run"])
    origins.search_again(run)
    root = Path(orders["data_root"]) if orders["data_root"] else None
    wanted = [(str(arm), int(seed)) for arm, seed in orders["trials"]]
    return work(run, validate(read(run / folders.SCENARIO)), wanted, root, orders["options"])


if __name__ == "__main__":
    sys.exit(main())
