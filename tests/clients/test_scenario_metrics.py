"""A scenario's own metrics, for every learner with decisions, in records, tables, figures, statistics and choices."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sklearn.metrics import cohen_kappa_score

import semfed
from semfed.data import cache
from semfed.errors import ScenarioError
from semfed.report import plots, tables
from semfed.runs.api import Run
from semfed.runs.folder import read_metrics, read_records
from semfed.scenario import overrides
from tests.settings import bases

pytest.importorskip("torchmetrics")
KAPPA = "torchmetrics.classification:MulticlassCohenKappa"
ACCURACY = {"name": "torchmetrics.classification:MulticlassAccuracy", "average": "micro", "called": "micro"}
LEARNERS = ("plain", "fedavg", "fedcl", "cooperative", "receivers", "alignment")


def run(base: str, out: Path, **changes: Any) -> Run:
    return semfed.run(bases.BASES[base](), overrides={"metrics": [ACCURACY, KAPPA], **changes}, out=out)


@pytest.mark.parametrize("base", LEARNERS)
def test_every_learner_with_decisions_reports_them(base: str, tmp_path: Path) -> None:
    """The accuracy of torchmetrics is the learner's own, wherever that stands: of the same decisions."""
    done = run(base, tmp_path / "run")
    records = {(r.client, r.round, r.metric): r.value for r in read_records(done.folder)}
    own = "error" if base == "cooperative" else "accuracy"
    found = {key: value for key, value in records.items() if key[2].partition("/")[0] == own}
    assert found
    for (client, round_, metric), value in found.items():
        expected = 1 - value if base == "cooperative" else value
        told = records[client, round_, metric.replace(own, "micro", 1)]
        assert told == pytest.approx(expected, abs=1e-6), (client, metric)
        assert -1 <= records[client, round_, metric.replace(own, "multiclass-cohen-kappa", 1)] <= 1
    assert sum(name.startswith("micro/") for _, _, name in records) == len(found)


def test_the_value_is_scikit_learn_s_of_the_link_s_decisions(tmp_path: Path) -> None:
    done = run("plain", tmp_path / "run", rounds=3, metrics=[KAPPA])
    told = {r.client: r.value for r in read_records(done.folder) if r.metric == "multiclass-cohen-kappa/digit"}
    data = cache.open_dataset(done.scenario.data.source.make(), "digits", None)
    links = [done.link(client=name) for name in "abc"]
    decided = [link(data.test.images, link.test_noise())["digit"] for link in links]
    values = [cohen_kappa_score(data.test.labels, own) for own in decided]
    assert [told[name] for name in "abc"] == pytest.approx(values, abs=1e-6)


def test_tables_figures_statistics_and_choices_know_it(tmp_path: Path) -> None:
    changes = {"seeds": [0, 1], "rounds": 2, "headline": "micro/average", "data.validation": 8}
    changes |= {"data.partition.per_client": 80}
    changes["metrics"] = [{**ACCURACY, "fraction": True}, KAPPA]
    done = run("plain", tmp_path / "run", **changes, stop={"metric": "multiclass-cohen-kappa/average", "patience": 2})
    final = next(iter(done.summary["arms"].values()))["final"]
    assert final["micro/average"]["mean"] == pytest.approx(final["accuracy/average"]["mean"], abs=1e-6)
    assert {"n", "ci95"} & final["multiclass-cohen-kappa/average"].keys()
    assert any(r.metric == "validation/multiclass-cohen-kappa/average" for r in read_records(done.folder))
    console = Console(width=140, record=True)
    tables.show(done.summary, read_metrics(done.folder), console, list("abc"))
    shown = " ".join(console.export_text().split())
    assert "test micro in % after the last round" in shown
    assert "multiclass cohen kappa" in shown
    drawn = plots.figures(done.folder)
    assert drawn["micro-average-vs-round"]().axes[0].get_ylabel() == "average micro (%)"
    assert "multiclass-cohen-kappa-average-vs-round" in drawn


@pytest.mark.parametrize(
    ("base", "metrics", "words"),
    [
        ("plain", [f"{KAPPA}x"], "cannot be loaded"),
        ("plain", [], "at least 1 item"),
        ("plain", [KAPPA, {"name": KAPPA, "weights": "linear"}], "'multiclass-cohen-kappa' is another metric of the"),
        ("plain", [{**ACCURACY, "called": "accuracy"}], "'accuracy' is another metric of the scenario, of learner"),
        ("plain", ["torchmetrics.classification:BinaryAUROC"], "cannot score decisions among 10 values"),
        (
            "receivers",
            [{"name": "torchmetrics.image:PeakSignalNoiseRatio", "data_range": 1.0}],
            "cannot score decisions among 6 values",
        ),
    ],
)
def test_what_nobody_can_score_is_refused_before_the_run(
    base: str, metrics: list[Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ScenarioError) as told:
        run(base, tmp_path / "run", metrics=metrics)
    assert words in str(told.value)
    assert not (tmp_path / "run").exists()


def test_a_learner_without_decisions_refuses_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "plugins")
    with pytest.raises(ScenarioError, match="learner 'reporting:PsnrClient' has no decisions that they could score"):
        run("plain", tmp_path / "run", learner="reporting:PsnrClient")


def test_a_scenario_without_them_is_the_one_that_it_was() -> None:
    """Unset, they are not written: digests and messages of older scenarios are what they were."""
    assert "metrics" not in overrides.load("digits").tree()
