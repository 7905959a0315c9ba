import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from semfed.checkpoint import StateRef
from semfed.flower.protocol import KEEP
from semfed.flower.server.ledger import Ledger


def test_the_evaluation_of_a_round_asks_for_the_state() -> None:
    ledger = Ledger("0" * 32, {1: StateRef(3, "old")})
    assert ledger.order(1, "evaluate") == {}  # no checkpoint is due
    ledger.due = 5
    assert ledger.order(1, "train") == {}
    assert ledger.order(1, "evaluate") == {"keep": 5, "committed": 3}
    assert ledger.order(0, KEEP) == {"keep": 5, "committed": -1}


def test_where_nodes_forget_every_message_that_changes_a_state_asks_for_it() -> None:
    ledger = Ledger("0" * 32, {1: StateRef(3, "old")})
    ledger.durable, ledger.due = True, 5
    for phase in ("train", "train.forward", "evaluate"):
        assert ledger.order(1, phase) == {"keep": 5, "committed": 3}
    assert ledger.order(1, "query.networks") == {}


def test_what_is_kept_is_recalled_for_clients_that_have_not_answered_since() -> None:
    ledger = Ledger("0" * 32, {0: StateRef(3, "a"), 1: StateRef(3, "b")})
    assert ledger.recall([0]) is None  # its node would not find it
    ledger.durable, ledger.due = True, 4
    assert ledger.recall([0, 2]) == {0: StateRef(3, "a")}
    ledger.heard(0)  # its reply is on its way, and not read yet
    assert ledger.recall([0, 2]) is None
    assert ledger.recall([1]) == {1: StateRef(3, "b")}
    ledger.note(0, ConfigRecord({"kept": "c"}))
    assert ledger.recall([0, 1]) == {0: StateRef(4, "c"), 1: StateRef(3, "b")}
    ledger.note(0, ConfigRecord({"problem": "no room"}))
    assert ledger.recall([0, 1]) is None


@pytest.mark.usefixtures("identity")
def test_a_message_is_addressed_to_a_client_with_what_is_asked_beside() -> None:
    ledger = Ledger("0" * 32, {1: StateRef(3, "old")})
    ledger.due = 5
    for phase, more in (("train", {}), ("evaluate", {"keep": 5, "committed": 3})):
        message = Message(RecordDict(), 1, phase)
        envelope = ledger.address(1, message)
        assert (envelope.message, envelope.address, envelope.sent) == (message, {"client": 1, **more}, 0)


def test_who_has_changed_since_is_asked_at_the_end() -> None:
    ledger = Ledger("0" * 32)
    ledger.due = 2
    for client in (0, 1, 2):
        assert ledger.note(client, None) is None
    assert ledger.note(0, ConfigRecord({"kept": "hash"})) is None
    assert ledger.note(1, ConfigRecord({"kept": ""})) is None  # nothing private
    assert ledger.note(2, ConfigRecord({"problem": "no room"})) == "no room"
    assert ledger.unkept == [2]
    assert ledger.marks == {0: StateRef(2, "hash")}


def test_a_file_is_needed_until_a_newer_checkpoint_is_complete() -> None:
    ledger = Ledger("0" * 32)
    for due in (1, 2):
        ledger.due = due
        ledger.note(0, ConfigRecord({"kept": f"hash {due}"}))
        assert ledger.order(0, KEEP)["committed"] == -1
    ledger.commit()
    assert ledger.order(0, KEEP)["committed"] == 2
