"""The layout of ``server.yml`` and ``clients.yml``: two hosts with an address each, TLS and authentication."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deployment.rehearsal import Rehearsal

pytestmark = pytest.mark.long
LIMIT_S = 1500.0
CUT_S = 65.0
"""Longer than Flower takes a silent node for online."""
DEAF_S = 40.0
"""Longer than Flower waits for an answer."""


def test_clustered_mnist_gives_the_numbers_of_the_in_process_engine(
    data_root: Path, two_machines: Rehearsal, same_as_in_process: Callable[..., None]
) -> None:
    run = two_machines.submit("/srv/scenarios/clustered-mnist", "rounds=1 arms='clustered' seeds='0'")
    assert two_machines.finish(run, LIMIT_S) == "finished:completed"
    same_as_in_process(two_machines.folder(run), "clustered-mnist", ["rounds=1"], "clustered")


def test_a_network_that_is_cut_for_a_minute_loses_nothing(
    two_machines: Rehearsal, same_as_in_process: Callable[..., None]
) -> None:
    run = two_machines.submit("/srv/scenarios/digits", "rounds=1 arms='clustered' seeds='0'")
    two_machines.await_round(run, 0, LIMIT_S)
    two_machines.network.cut("clients")
    time.sleep(CUT_S)
    two_machines.network.mend("clients")
    assert two_machines.finish(run, LIMIT_S) == "finished:completed"
    assert "is away; what it was asked is kept" in two_machines.run_log(run)
    same_as_in_process(two_machines.folder(run), "digits", ["rounds=1"], "clustered")


def test_a_message_that_is_handed_out_into_a_dead_line_is_sent_again(
    two_machines: Rehearsal, same_as_in_process: Callable[..., None]
) -> None:
    """The SuperLink hears the SuperNodes ask and hands out their messages; none arrives, and it has none left."""
    run = two_machines.submit("/srv/scenarios/digits", "rounds=1 arms='clustered' seeds='0'")
    two_machines.await_round(run, 0, LIMIT_S)
    two_machines.network.deafen("clients", "server")
    time.sleep(DEAF_S)
    two_machines.network.undeafen("clients", "server")
    assert two_machines.finish(run, LIMIT_S) == "finished:completed"
    assert "is sent again" in two_machines.run_log(run)
    same_as_in_process(two_machines.folder(run), "digits", ["rounds=1"], "clustered")
