import itertools

from hypothesis import given
from hypothesis import strategies as st

from semfed.engine.ray.placement import rows
from semfed.engine.ray.schedule import Schedule


def run(schedule: Schedule, pace: list[float], most: int, least: int, ahead: int = 2) -> tuple[list[list[int]], float]:
    """Serve everything with workers that need `pace` seconds a place; return who served what, and the seconds."""
    clock = 0.0
    served: list[list[int]] = [[] for _ in pace]
    ends: list[list[tuple[float, list[int]]]] = [[] for _ in pace]

    def fill(actor: int) -> None:
        while len(ends[actor]) < ahead and (batch := schedule.take(actor, most, least)):
            begins = ends[actor][-1][0] if ends[actor] else clock
            ends[actor].append((begins + pace[actor] * len(batch), batch))

    for actor in range(len(pace)):
        fill(actor)
    while any(ends):
        clock, actor = min((own[0][0], actor) for actor, own in enumerate(ends) if own)
        served[actor] += ends[actor].pop(0)[1]
        schedule.done(actor)
        fill(actor)
    return served, clock


@given(
    st.integers(1, 300), st.lists(st.floats(0.1, 10), min_size=1, max_size=4), st.integers(1, 100), st.integers(0, 40)
)
def test_everything_is_served_once(total: int, pace: list[float], most: int, least: int) -> None:
    for movable in (True, False):
        placed = rows([1.0] * total, len(pace))
        served, _ = run(Schedule(placed, [1.0] * total, movable=movable), pace, most, least)
        assert sorted(itertools.chain(*served)) == list(range(total))
        assert movable or served == placed


def test_a_slow_worker_gets_less() -> None:
    placed = rows([1.0] * 1000, 2)
    served, seconds = run(Schedule(placed, [1.0] * 1000, movable=True), [1.0, 2.0], 128, 40)
    assert seconds < 1.15 * 1000 / 1.5  # the two together do 1.5 places a second
    assert served[0][:500] == placed[0]
    assert set(served[0][500:]) < set(placed[1])
    _, alone = run(Schedule(placed, [1.0] * 1000, movable=False), [1.0, 2.0], 128, 40)
    assert alone == 1000


def test_equally_quick_workers_keep_their_rows() -> None:
    for total in (2, 5, 20, 100, 1000):
        placed = rows([1.0] * total, 2)
        served, _ = run(Schedule(placed, [1.0] * total, movable=True), [1.0, 1.0], 128, 40)
        assert served == placed


def test_batches_end_where_halves_do_and_shrink() -> None:
    schedule = Schedule([range(500), range(500, 1000)], [1.0] * 1000, movable=True)
    begins = []
    while batch := schedule.take(1, 128, 40):
        begins.append(batch[0])
    assert begins == [500, 562, 625, 750, 875, 937]


def test_what_is_not_worth_dividing_is_one_batch() -> None:
    assert Schedule([range(50), range(50, 100)], [1.0] * 100, movable=True).take(0, 128, 40) == list(range(50))
