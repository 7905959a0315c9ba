"""Whether two processes get two CPUs: a virtual one may be somebody else's for seconds or minutes.

A ratio of two workers to one process tells of the host then, and not of the engine.
"""

import multiprocessing
import os
import time

import numpy as np

PROCESSES = 2
WORK_S = 0.4
PAUSE_S = 2.0
MARGIN = 0.1
"""By how much the share of a quiet machine may differ from 1, in either direction."""


def share() -> float:
    """Return what two processes do at the same time, over what they do one after the other in as long; about 1.2 s."""
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        pool.map(_work, [0.05] * PROCESSES, chunksize=1)  # both have started
        alone = [pool.apply(_work, (WORK_S,)) for _ in range(PROCESSES)]
        together = pool.map(_work, [WORK_S] * PROCESSES, chunksize=1)
    return round(sum(together) / sum(alone), 3)


def is_quiet(measured: float) -> bool:
    """Say whether that is the share of a quiet machine."""
    return abs(measured - 1) <= MARGIN


class Patience:
    """Seconds that may be spent on waiting for a quiet machine, of all runs together.

    Parameters
    ----------
    seconds : float
        None are spent on a machine with a single CPU, which has no second one to wait for.
    """

    def __init__(self, seconds: float) -> None:
        self.left = seconds if (os.cpu_count() or 1) >= PROCESSES else 0.0

    def wait(self) -> float:
        """Wait until the machine is quiet or patience is over; return the last share."""
        while not is_quiet(measured := share()) and self.left > 0:
            time.sleep(PAUSE_S)
            self.left -= PAUSE_S + (PROCESSES + 1) * WORK_S
        return measured


def _work(seconds: float) -> int:
    """Multiply small matrices, and count."""
    matrix, done, end = np.eye(64, dtype=np.float32), 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        matrix @ matrix
        done += 1
    return done
