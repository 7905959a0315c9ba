"""What belongs to an exchange travels with its replies, and it does not matter when they are used up."""

from collections.abc import Callable, Iterator

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict

from semfed.errors import FederationError
from semfed.events.callbacks import ExchangeProgress
from semfed.flower.server.federation import Federation
from semfed.flower.server.replies import Replies, in_order, sentence
from semfed.scenario import Scenario

pytestmark = pytest.mark.usefixtures("identity")


def ask(federation: Federation, *clients: int) -> Replies:
    content = RecordDict({"arrays": federation.initial_arrays, "config": ConfigRecord({"server-round": 1})})
    return federation.send_and_receive([Message(content, client, "evaluate") for client in clients])


def test_two_exchanges_at_a_time_do_not_mix(open_federation: Callable[..., Federation], digits: Scenario) -> None:
    federation = open_federation(digits)
    federation.take_records(0)
    all_, last = ask(federation, 2, 0, 1), ask(federation, 2)
    assert (all_.places, all_.total) == ({0: 0, 1: 1, 2: 2}, 3)
    assert (last.places, last.total) == ({2: 0}, 1)
    order = [next(all_), next(last), *all_, *last]
    assert [reply.metadata.src_node_id for reply in order] == [0, 2, 1, 2]
    assert (all_.tally, last.tally) == (ExchangeProgress(3, 3), ExchangeProgress(1, 1))
    costs = {r.client: r.value for r in federation.take_records(1) if r.metric == "cost/evaluation_bytes_down"}
    size = sum(record.count_bytes() for record in (federation.initial_arrays, ConfigRecord({"server-round": 1})))
    assert costs == {"Sat 1": size, "Sat 2": size, "Sat 3": 2 * size}


def test_a_client_gets_one_message_in_an_exchange(open_federation: Callable[..., Federation], digits: Scenario) -> None:
    with pytest.raises(FederationError, match="client 'Sat 2' has two messages in one exchange"):
        ask(open_federation(digits), 0, 1, 1)


@pytest.mark.parametrize("arrivals", [(2, 0, 1), (0, 1, 2), (1, 2, 0)])
def test_a_reply_waits_for_those_of_the_clients_before(arrivals: tuple[int, ...]) -> None:
    message = Message(RecordDict(), 0, "train")
    came = list[int]()

    def replies() -> Iterator[tuple[int, Message]]:
        for client in arrivals:
            came.append(client)
            yield client, message

    given = [(client, list(came)) for client, _ in in_order(range(3), replies())]
    needed = {client: max(arrivals.index(earlier) for earlier in range(client + 1)) for client in range(3)}
    assert given == [(client, list(arrivals[: needed[client] + 1])) for client in range(3)]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("Traceback ...\n  File 'x'\nRuntimeError: as asked", "RuntimeError: as asked"),
        ("<class 'ValueError'>:<'no power'>\n", "<class 'ValueError'>:<'no power"),
        ("", "error code 5"),
    ],
)
def test_an_error_is_told_by_its_last_line(reason: str, told: str) -> None:
    assert sentence(Error(5, reason)) == told


def test_a_list_of_replies_is_a_whole_exchange() -> None:
    replies = [Message(RecordDict(), reply_to=Message(RecordDict(), client, "train")) for client in (7, 3, 5)]
    given = Replies.of(replies)
    assert (given.places, given.total) == ({3: 0, 5: 1, 7: 2}, 3)
    assert Replies.of(given) is given
    some = given.only(reply for reply in given if reply.metadata.src_node_id != 5)
    assert [(r.metadata.src_node_id, some.places[r.metadata.src_node_id]) for r in some] == [(3, 0), (7, 2)]
    assert some.total == 3


def test_replies_are_used_up_once() -> None:
    replies = Replies({}, [])
    assert list(replies.updates()) == []
    with pytest.raises(FederationError, match="called twice, but replies are used up as they come"):
        list(replies.stacked())
