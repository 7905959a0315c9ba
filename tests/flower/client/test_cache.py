import pickle

from semfed.flower.client.cache import ProcessCache


def test_copies_that_arrive_in_a_process_share_what_it_keeps() -> None:
    sent = ProcessCache()
    sent.once("network", lambda: "of the sender")
    first, second = (pickle.loads(pickle.dumps(sent)) for _ in range(2))
    assert first.once("network", object) is second.once("network", object)
    assert sent.once("network", object) == "of the sender"
