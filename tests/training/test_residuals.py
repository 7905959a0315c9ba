import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from semfed.training.objective import add_up
from semfed.training.residuals import residuals

NUMBERS = st.lists(
    st.tuples(st.floats(-1e3, 1e3, width=32), st.floats(-1e3, 1e3, width=32)), min_size=4, max_size=20
)  # fmt: skip


@given(NUMBERS, st.integers(1, 3))
def test_scores_of_batches_together_are_those_of_scikit_learn(pairs: list[tuple[float, float]], cut: int) -> None:
    estimates, targets = (torch.tensor(column) for column in zip(*pairs, strict=True))
    batches = [(estimates[:cut], targets[:cut]), (estimates[cut:], targets[cut:])]
    found = {name: score.mean for name, score in add_up(residuals(*batch) for batch in batches).items()}
    true, given_ = targets.double().numpy(), estimates.double().numpy()
    assert found["mse"] == pytest.approx(mean_squared_error(true, given_), rel=1e-9, abs=1e-12)
    assert found["mae"] == pytest.approx(mean_absolute_error(true, given_), rel=1e-9, abs=1e-12)
    if true.std() > 1e-3:
        assert found["r2"] == pytest.approx(r2_score(true, given_), rel=1e-6, abs=1e-6)


def test_r_squared_of_targets_that_are_all_equal() -> None:
    constant = torch.full((4,), 2.5)
    assert residuals(constant, constant)["r2"].mean == 1
    assert residuals(constant + 1, constant)["r2"].mean == -math.inf
