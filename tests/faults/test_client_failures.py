"""Clients that fail, one way or another: the run ends with a sentence, goes on without them, or asks again."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

import semfed
from semfed.engine.inprocess import InProcessGrid
from semfed.errors import FederationError
from semfed.flower.client.app import make_client_app
from semfed.flower.server.federation import Federation
from semfed.flower.server.run import run_arm
from semfed.flower.trial import Trial
from semfed.scenario import Scenario

SHORT = ["rounds=2", "training.epochs=1"]


def failing(how: str, *, learner: str = "FailingClient", **settings: Any) -> str:
    given = "".join(f", {name} = {str(v).lower() if isinstance(v, bool) else repr(v)}" for name, v in settings.items())
    return f'learner={{name = "faulty:{learner}", client = 1, round = 1, how = "{how}"{given}}}'


def run(out: Path, *overrides: str, **arguments: Any) -> Any:
    return semfed.run("digits", arms=["clustered"], seeds=[0], overrides=[*SHORT, *overrides], out=out, **arguments)


def of(records: list[dict[str, Any]], metric: str) -> list[tuple[Any, ...]]:
    return [(r["round"], r["client"], r.get("note")) for r in records if r["metric"] == metric]


def test_skip_leaves_a_client_out_and_says_why(tmp_path: Path, records: Callable[[Path], Any]) -> None:
    run(tmp_path / "run", failing("raise", learner="CountingClient"))
    told = records(tmp_path / "run")
    assert of(told, "failure/train") == [(1, "Sat 2", "RuntimeError: as asked")]
    assert [r["value"] for r in told if r["metric"] == "visits/t2"] == [1.0]  # nothing of the failed visit is kept


def test_fail_ends_the_run_at_once_and_names_the_client(tmp_path: Path, records: Callable[[Path], Any]) -> None:
    with pytest.raises(FederationError, match=r"client 'Sat 2' failed in 'train': RuntimeError: as asked") as caught:
        run(tmp_path / "run", failing("raise"), "on_client_failure=fail")
    assert f"go on with: semfed run --resume {tmp_path / 'run'}" in caught.value.__notes__
    assert of(records(tmp_path / "run"), "failure/train") == [(1, "Sat 2", "RuntimeError: as asked")]


def test_retry_gives_the_numbers_of_a_run_without_failures(tmp_path: Path, records: Callable[[Path], Any]) -> None:
    overrides = (failing("raise", once=str(tmp_path / "once")), "on_client_failure=retry")
    run(tmp_path / "run", *overrides)
    run(tmp_path / "again", *overrides)  # the failure has happened
    told = records(tmp_path / "run")
    assert of(told, "retry/train") == [(1, "Sat 2", "RuntimeError: as asked")]
    assert not of(told, "failure/train")
    sent_again = ("cost/bytes_down", "cost/simulation_bytes_down")
    rest = [r for r in told if not r["metric"].startswith(("retry/", *sent_again))]
    assert rest == [r for r in records(tmp_path / "again") if not r["metric"].startswith(sent_again)]


def test_retry_asks_a_stated_number_of_times(tmp_path: Path, records: Callable[[Path], Any]) -> None:
    run(tmp_path / "run", failing("raise"), "on_client_failure=retry", "retries=3")
    told = records(tmp_path / "run")
    assert len(of(told, "retry/train")) == 3
    assert of(told, "failure/train") == [(1, "Sat 2", "RuntimeError: as asked")]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("nan", "values that are not finite"),
        ("inf", "values that are not finite"),
        ("shape", r"is float32\[32, 63\], not float32\[32, 64\]"),
        ("dtype", r"is float64\[32, 64\], not float32\[32, 64\]"),
    ],
)
def test_an_update_that_cannot_be_used_is_left_out(
    tmp_path: Path, records: Callable[[Path], Any], how: str, reason: str
) -> None:
    done = run(tmp_path / "run", failing(how))
    ((round_, client, note),) = of(records(tmp_path / "run"), "failure/train")
    assert (round_, client) == (1, "Sat 2")
    assert re.search(reason, note)
    assert done.summary["complete"]


def test_all_clients_fail(tmp_path: Path) -> None:
    with pytest.raises(FederationError, match=r"round 1: 0 of 3 clients .* 'Sat 1', 'Sat 2', 'Sat 3' \(RuntimeError"):
        run(tmp_path / "run", failing("raise", everyone=True))
    assert not semfed.runs.folder.read_json(tmp_path / "run" / "summary.json")["complete"]


class Unreliable(InProcessGrid):
    """Answers twice, or keeps the answer of one node to itself until that node has been passed over."""

    def __init__(self, nodes: int, *, twice: bool = False, delay: tuple[int, str, int] | None = None) -> None:
        super().__init__(make_client_app(), nodes)
        self.twice, self.delay, self.held, self.asked = twice, delay, list[Message](), list[tuple[int, str]]()

    def exchange(
        self, nodes: Sequence[int], make: Callable[[int], Message], *, timeout: float | None = None
    ) -> list[Message]:
        sent = [make(k) for k in range(len(nodes))]
        replies = list(super().exchange(nodes, sent.__getitem__, timeout=timeout))
        self.asked += [(m.metadata.dst_node_id, m.metadata.message_type) for m in sent]
        if self.twice:
            return [*replies, *replies]
        kept = []
        for message, reply in zip(sent, replies, strict=True):
            node, kind, pulls = self.delay or (0, "", 0)
            if (message.metadata.dst_node_id, message.metadata.message_type) == (node, kind) and pulls:
                self.held.append(reply)
            else:
                kept.append(reply)
        return kept

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        node, kind, pulls = self.delay or (0, "", 0)
        self.delay = (node, kind, pulls - 1)
        if pulls > 1 or not self.held:
            return []
        found, self.held = self.held, []
        return [reply for reply in found if reply.metadata.reply_to_message_id in set(message_ids)]


@pytest.mark.usefixtures("identity")
def test_a_second_reply_to_one_message_changes_nothing(digits: Scenario) -> None:
    trial = Trial(digits.arm("clustered"), "clustered", 0)
    once, twice = (run_arm(Unreliable(3, twice=twice), trial, []) for twice in (False, True))
    assert all((once.arrays[name] == twice.arrays[name]).all() for name in once.arrays)


@pytest.mark.usefixtures("identity")
def test_a_client_that_owes_an_answer_is_not_asked_until_it_has_answered(digits: Scenario) -> None:
    """Otherwise its late answer would put an older state over the newer one."""
    grid = Unreliable(3, delay=(3, "train", 2))
    trial = Trial(digits.arm("individual"), "individual", 0)
    federation = Federation(grid, trial, timeout=5.0)
    for phase, words in (("train", "no reply within 1 s"), ("evaluate", "still busy with an earlier message")):
        replies = list(
            federation.send_and_receive(
                [federation.create_message(_content(federation), phase, k, "1") for k in range(3)], timeout=1.0
            )
        )
        assert [r.has_error() for r in replies] == [False, True, False]
        assert replies[1].error.reason == words
    replies = list(
        federation.send_and_receive(
            [federation.create_message(_content(federation), "evaluate", k, "1") for k in range(3)], timeout=1.0
        )
    )
    assert not any(reply.has_error() for reply in replies)
    assert [kind for node, kind in grid.asked if node == 3] == ["query", "train", "evaluate"]


@pytest.mark.usefixtures("identity")
def test_retry_waits_for_the_answer_instead_of_training_twice(digits: Scenario) -> None:
    patient = digits.model_copy(update={"on_client_failure": "retry", "arms": ()})
    grid = Unreliable(3, delay=(3, "train", 3))
    federation = Federation(grid, Trial(patient, "digits", 0), timeout=5.0)
    replies = list(
        federation.send_and_receive(
            [federation.create_message(_content(federation), "train", k, "1") for k in range(3)], timeout=5.0
        )
    )
    assert not any(reply.has_error() for reply in replies)
    assert [kind for node, kind in grid.asked if node == 3] == ["query", "train"]
    assert [(r.client, r.metric) for r in federation.take_records(1) if r.note] == [("Sat 2", "retry/train")]


def _content(federation: Federation) -> Any:
    return RecordDict({"arrays": federation.initial_arrays, "config": ConfigRecord({"server-round": 1})})
