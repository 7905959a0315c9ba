"""What the README of iopm-mnist says of its results, read again from the committed files."""

import json
from pathlib import Path
from typing import Any

import pytest
from semfed.clients.cooperative import CooperativeClient

from semfed.events.metrics import Metrics
from semfed.runs.results import quoted_lead
from semfed.runs.statistics import paired, spread

FOLDER = Path(__file__).parents[2] / "scenarios" / "iopm-mnist"
ERROR = Metrics(CooperativeClient.metrics).of("error")
README = (FOLDER / "README.md").read_text()
EXPLICIT = ("gaussian-prior", "log-uniform-prior", "log-uniform-channel", "log-uniform-encoder")


def load(name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((FOLDER / "results" / f"{name}.json").read_text())
    return result


def by_seed(result: dict[str, Any], arm: str, metric: str) -> dict[int, float]:
    return {int(seed): value for seed, value in result["arms"][arm]["final"][metric]["values"].items()}


def lead(result: dict[str, Any], one: str, other: str, metric: str) -> dict[str, Any]:
    """Describe other - one, so that `quoted_lead` writes one - other."""
    entry = paired(by_seed(result, other, metric), by_seed(result, one, metric))
    assert entry is not None
    return entry


@pytest.mark.parametrize("other", ["iopm-logistic", *EXPLICIT])
def test_the_implicit_prior_has_the_lower_error_in_every_seed_at_a_tenth(other: str) -> None:
    result = load("priors-lambda-0.1")
    assert result["seeds"] == [0, 1, 2, 3, 4]
    for metric in ("error/t1", "error/t2"):
        entry = lead(result, "iopm", other, metric)
        assert all(value > 0 for value in entry["values"].values())
        assert entry["ci95"][0] > 0
        assert f"| {quoted_lead(entry, ERROR)} |" in README


@pytest.mark.parametrize("other", ["iopm-logistic", *EXPLICIT])
def test_at_the_presets_weight_the_implicit_prior_sends_less_and_errs_less_on_t1_alone(other: str) -> None:
    result = load("priors")
    assert result["seeds"] == [0, 1, 2, 3, 4]
    assert all(value > 0 for value in lead(result, "iopm", other, "error/t1")["values"].values())
    low, high = lead(result, "iopm", other, "error/t2")["ci95"]
    assert low < 0 < high
    assert all(lead(result, "iopm", other, f"rate/{task}")["ci95"][0] > 0 for task in ("t1", "t2"))


@pytest.mark.parametrize("other", EXPLICIT)
def test_the_papers_estimator_against_the_explicit_priors(other: str) -> None:
    row = next(line for line in README.splitlines() if line.startswith(f"| iopm-logistic - {other} "))
    result = load("priors-lambda-0.1")
    for metric, scale, digits in (("error/t1", 100, 2), ("error/t2", 100, 2), ("rate/t1", 1, 3), ("rate/t2", 1, 3)):
        entry = lead(result, "iopm-logistic", other, metric)
        low, high = (-scale * end for end in reversed(entry["ci95"]))
        told = f"{-scale * entry['mean']:.{digits}f} (95 %: {low:.{digits}f} to {high:.{digits}f})"
        assert f"| {told} |" in row, metric


def test_the_table_of_density_ratios() -> None:
    encoder = load("density-ratio")["numbers"]["encoder"]
    for method, kinds in encoder.items():
        for dims, found in kinds.items():
            pairs = zip(found["kl_true"]["values"], found["kl_estimated"]["values"], strict=True)
            missed = spread({seed: exact - estimate for seed, (exact, estimate) in enumerate(pairs)})
            low, high = missed["ci95"]
            row = next(line for line in README.splitlines() if line.startswith(f"| {dims.removesuffix('-D')} | "))
            assert f"| {missed['mean']:.3f} [{low:.3f}, {high:.3f}] |" in row, (method, dims)
            assert f"| {found['gradient_cosine']['mean']:.3f}, {found['mean_ratio_under_q']['mean']:.3f} |" in row
