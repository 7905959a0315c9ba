"""Nodes without a server."""

import pickle
from collections.abc import Iterator

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from semfed.engine.nodes import FIRST_NODE, Nodes
from semfed.engine.spill import StateSpill
from semfed.flower import arrays as wire
from semfed.flower.client.app import make_client_app
from semfed.flower.protocol import STATE
from semfed.flower.trial import Trial
from semfed.scenario import overrides

pytestmark = pytest.mark.usefixtures("identity")


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    made = Nodes(make_client_app(), range(4), 4, {}, StateSpill(1.0))
    yield made
    made.close()


def test_states_that_arrive_share_the_text_of_the_trial(nodes: Nodes) -> None:
    scenario = overrides.load("digits")
    opening = ConfigRecord({"trial": Trial(scenario.arm("clustered"), "clustered", 0).to_json()})
    for node in nodes.contexts:
        assert not nodes.answer(Message(RecordDict({STATE: opening}), node, "query")).has_error()
    for node in (FIRST_NODE, FIRST_NODE + 1):  # one by one, as from snapshots of different rounds
        nodes.restore(pickle.loads(pickle.dumps(nodes.states([node]))))
    texts = [context.state.config_records[STATE]["trial"] for context in nodes.contexts.values()]
    assert len({id(text) for text in texts}) == 1


def test_a_node_that_left_comes_back_with_the_state_that_it_brings(nodes: Nodes) -> None:
    brought = RecordDict({"0/own": wire.record({"w": np.ones(3)})})
    nodes.restore({FIRST_NODE: RecordDict({"0/own": wire.record({"w": np.zeros(3)})})})
    nodes.forget([FIRST_NODE])
    assert FIRST_NODE not in nodes.contexts
    nodes.restore({FIRST_NODE: brought})
    assert nodes.states([FIRST_NODE])[FIRST_NODE] is brought
