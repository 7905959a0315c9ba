"""Balanced accuracy and F1 against scikit-learn, and by hand where one value is rare."""

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score

from semfed.training.decisions import balanced_accuracy, balanced_scores, confusion, decisions, macro_f1
from semfed.training.objective import add_up


def drawn(seed: int, size: int, count: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw skewed values and decisions; some values are missing of either."""
    generator = np.random.default_rng(seed)
    chances = generator.dirichlet(np.full(size, 0.4), 2)
    decided, values = (generator.choice(size, count, p=p) for p in chances)
    return torch.from_numpy(decided), torch.from_numpy(values)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("size", [2, 3, 10])
@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_scikit_learn(seed: int, size: int) -> None:
    decided, values = drawn(seed, size)
    counts = confusion(decided, values)
    assert counts.tolist() == confusion_matrix(values, decided, labels=range(len(counts))).tolist()
    assert balanced_accuracy(counts) == pytest.approx(balanced_accuracy_score(values, decided), rel=1e-12)
    assert macro_f1(counts) == pytest.approx(f1_score(values, decided, average="macro"), rel=1e-12)


def test_who_always_says_the_frequent_value_is_at_one_half() -> None:
    """9 of 10 are value 0: recalls 1 and 0; F1 18 / 19 and 0."""
    scores = balanced_scores(torch.zeros(10, dtype=torch.int64), torch.tensor([0] * 9 + [1]))
    assert scores == {"balanced-accuracy": 0.5, "f1": pytest.approx(18 / 19 / 2)}


def test_batches_add_up_to_the_whole() -> None:
    """Ratios do not add up, counts do; a batch that lacks the last values has a smaller matrix."""
    decided, values = drawn(0, 10)
    order = torch.argsort(values)  # so that batches differ in what occurs
    logits, values = torch.nn.functional.one_hot(decided, 10)[order], values[order]
    whole = {name: score.mean for name, score in decisions(logits, values).items()}
    batches = zip(logits.split(70), values.split(70), strict=True)
    assert {name: score.mean for name, score in add_up(decisions(*batch) for batch in batches).items()} == whole
    assert whole["accuracy"] == float((decided[order] == values).double().mean())
    assert {name: whole[name] for name in ("balanced-accuracy", "f1")} == balanced_scores(decided[order], values)
