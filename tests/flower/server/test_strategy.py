import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord, RecordDict

from semfed.errors import FederationError
from semfed.flower.arrays import mismatch
from semfed.flower.server.federation import Federation, sentence
from semfed.flower.server.strategy import FederatedStrategy, StrategySettings
from semfed.scenario import Scenario

pytestmark = pytest.mark.usefixtures("identity")
GOOD = {"w": np.ones((2, 3), np.float32), "b": np.zeros(3, np.float32)}


def record(arrays: dict[str, np.ndarray]) -> ArrayRecord:
    return ArrayRecord({name: Array(array) for name, array in arrays.items()})


@pytest.mark.parametrize(
    ("update", "words"),
    [
        ({"w": GOOD["w"]}, r"arrays \['w'\] instead of \['w', 'b'\]"),
        ({**GOOD, "w": np.ones((3, 2), np.float32)}, r"'w' is float32\[3, 2\], not float32\[2, 3\]"),
        ({**GOOD, "b": np.zeros(3)}, r"'b' is float64\[3\], not float32\[3\]"),
        ({**GOOD, "w": np.full((2, 3), np.nan, np.float32)}, "'w' has values that are not finite"),
        ({**GOOD, "b": np.array([0, np.inf, 0], np.float32)}, "'b' has values that are not finite"),
    ],
)
def test_bad_updates_are_described(update: dict[str, np.ndarray], words: str) -> None:
    problem = mismatch(record(update), record(GOOD))
    assert problem is not None
    assert re.search(words, problem)
    assert mismatch(record(GOOD), record(GOOD)) is None
    assert mismatch(None, record(GOOD)) == "the reply has no arrays"


class Dummy(FederatedStrategy):
    def configure_train(self, *args: Any) -> Any: ...
    def aggregate_train(self, *args: Any) -> Any: ...
    def configure_evaluate(self, *args: Any) -> Any: ...


@pytest.fixture
def strategy(open_federation: Callable[..., Federation], digits: Scenario) -> Dummy:
    federation = open_federation(digits)
    made = Dummy(federation.trial, StrategySettings(quorum=0.6))
    made.federation = federation
    return made


def reply(client: int, arrays: dict[str, np.ndarray] | None = None, error: str | None = None) -> Message:
    sent = Message(RecordDict(), client, "train")
    if error is not None:
        return Message(Error(2, f"Traceback ...\n{error}"), reply_to=sent)
    content = RecordDict({"arrays": record(arrays or GOOD), "metrics": MetricRecord({"num-examples": 1})})
    return Message(content, reply_to=sent)


def test_one_bad_reply_is_left_out_and_recorded(strategy: Dummy) -> None:
    bad = {**GOOD, "w": np.full((2, 3), np.nan, np.float32)}
    usable = strategy.usable(1, [reply(0), reply(1, bad), reply(2)], record(GOOD))
    assert [r.metadata.src_node_id for r in usable] == [0, 2]
    assert strategy.federation is not None
    noted = [r for r in strategy.federation.take_records(1) if r.metric == "failure/train"]
    assert [(r.client, r.note) for r in noted] == [("Sat 2", "array 'w' has values that are not finite")]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("Traceback ...\nTypeError: 'int' and 'list'", "TypeError: 'int' and 'list'"),
        ("<class 'Oops'>:<'Traceback ...\nValueError: tired\n'>", "ValueError: tired"),
        ("<class 'Oops'>:<'Traceback ...\nValueError: tired'>", "ValueError: tired"),
        ("", "error code 2"),
    ],
    ids=["in process", "Flower, a line ends", "Flower", "nothing said"],
)
def test_the_last_line_of_an_errors_reason_is_told(reason: str, told: str) -> None:
    assert sentence(Error(2, reason)) == told


def test_many_clients_with_one_problem_are_told_in_a_few_words(strategy: Dummy) -> None:
    bad = {f"Sat {k}": "ValueError: tired of 'work'" for k in range(1000)} | {"Sat x": "asleep"}
    words = "'Sat 0', 'Sat 1', 'Sat 2', 'Sat 3', 'Sat 4' and 995 more (ValueError: tired of 'work'), 'Sat x' (asleep)"
    with pytest.raises(FederationError, match=re.escape(words)):
        strategy.require_quorum(1, 0, 1001, bad)


def test_fewer_than_the_quorum_stop_the_run_with_names(strategy: Dummy) -> None:
    words = r"round 4: 1 of 3 .* quorum is 2; without one: 'Sat 1' \(ValueError: tired\), 'Sat 3' \(arrays"
    with pytest.raises(FederationError, match=words):
        list(
            strategy.usable(
                4, [reply(0, error="ValueError: tired"), reply(1), reply(2, {"w": GOOD["w"]})], record(GOOD)
            )
        )
