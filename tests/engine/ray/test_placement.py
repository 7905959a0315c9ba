from hypothesis import given
from hypothesis import strategies as st

from semfed.engine.ray.placement import place


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=30), st.integers(1, 5))
def test_placement_is_complete_and_balanced(sizes: list[float], workers: int) -> None:
    placed = place(sizes, workers)
    assert sorted(index for members in placed for index in members) == list(range(len(sizes)))
    loads = [sum(sizes[index] for index in members) for members in placed]
    assert max(loads) <= sum(sizes) / workers + max(sizes)


@given(st.integers(1, 200), st.integers(1, 8))
def test_equal_work_is_placed_in_rows(count: int, workers: int) -> None:
    placed = place([60.0] * count, min(count, workers))
    assert [index for members in placed for index in members] == list(range(count))
