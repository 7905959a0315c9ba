"""Runs beside each other, from folders that are written by hand: no training, no plugins."""

from pathlib import Path
from typing import Any

import pytest
import tomli_w
from rich.console import Console
from scipy import stats
from typer.testing import CliRunner

from semfed.cli import app
from semfed.errors import RunFolderError, ScenarioError
from semfed.events import strict_json
from semfed.events.metrics import FRAMEWORK, Metric, Metrics
from semfed.events.records import Record
from semfed.report import comparison
from semfed.runs import folder as folders
from semfed.runs.recorder import write_summary
from semfed.runs.side_by_side import differing, gather, told_by

ACCURACY = Metric("accuracy", better="higher", fraction=True)
A = {0: 0.80, 1: 0.85, 2: 0.90, 3: 0.86}
B = {0: 0.70, 1: 0.80, 2: 0.81, 3: 0.84}


def written(folder: Path, values: dict[str, dict[int, float]], metric: Metric = ACCURACY, **tree: Any) -> Path:
    """Write a run of two rounds whose arms reach these values, with 100 bytes a round; half of them in round 1."""
    folder.mkdir()
    arms = [{"name": arm, **tree.pop(arm, {})} for arm in values]
    scenario = {"name": "study", "seeds": [0, 1, 2, 3], "headline": f"{metric.name}/average", **tree, "arms": arms}
    (folder / folders.SCENARIO).write_text(tomli_w.dumps(scenario))
    folders.write_atomically(folder / folders.DECLARED, strict_json.dumps(Metrics([*FRAMEWORK, metric]).to_table()))
    records = [
        record
        for arm, seeds in values.items()
        for seed, value in seeds.items()
        for round_ in (1, 2)
        for record in (
            Record(arm, seed, round_, None, f"{metric.name}/average", value * round_ / 2),
            Record(arm, seed, round_, "c", "cost/bytes_up", 100.0),
        )
    ]
    (folder / folders.METRICS).write_text("".join(f"{record.to_json()}\n" for record in records))
    write_summary(folder, None)
    return folder


def shown(*runs: Path, **options: Any) -> list[str]:
    console = Console(width=110, record=True)
    comparison.show(gather(runs, **options), console)
    return [" ".join(line.split()) for line in console.export_text().splitlines()]


def test_arms_of_one_run_are_paired_by_seed(tmp_path: Path) -> None:
    run = written(tmp_path / "x", {"one": A, "two": B}, channel={"snr_db": 3}, two={"channel": {"snr_db": 5}})
    lines = shown(run)
    test = stats.ttest_rel(list(B.values()), list(A.values()))
    low, high = (100 * end for end in test.confidence_interval(0.95))
    half = 100 * stats.t.ppf(0.975, 3) * stats.tstd(list(A.values())) / 2
    assert "study: average accuracy (%) after the last round, mean ± 95 % interval, n = 4 seeds" in " ".join(lines)
    assert f"one 85.25 ± {half:.2f} *" in lines
    (row,) = (line for line in lines if line.startswith("two 78.75"))
    assert row.endswith(f"-6.50 [{low:.2f}, {high:.2f}] 0 of 4 {test.pvalue:.3f} 0.125")
    assert "difference: arm − one, paired by seed, in points, [95 % interval of the pair alone]" in lines
    assert "channel.snr_db 3 one" in lines
    assert "5 two" in lines


def test_arms_of_several_runs_go_by_their_folders(tmp_path: Path) -> None:
    one = written(tmp_path / "x", {"arm": A}, training={"lr": 0.1, "momentum": 0.0})
    two = written(tmp_path / "y", {"arm": {s: v for s, v in B.items() if s < 3}}, training={"lr": 0.2, "momentum": 0.0})
    found = gather([one, two])
    (group,) = found.summary["comparisons"]["accuracy/average"]
    assert (group["reference"], list(group["arms"])) == ("x/arm", ["y/arm"])
    assert (group["arms"]["y/arm"]["n"], group["arms"]["y/arm"]["missing"]) == (3, [3])
    assert differing(found.settings) == {"training.lr": [(0.1, ["x/arm"]), (0.2, ["y/arm"])]}
    lines = shown(one, two, reference="y/arm")
    assert "y/arm: without a pair for seeds 3" not in lines
    assert "x/arm: without a pair for seeds 3" in lines
    assert any(line.startswith("x/arm 85.25") and "3 of 3" in line for line in lines)
    assert any(line.startswith("y/arm (n = 3)") for line in lines)


def test_of_an_error_fewer_is_better(tmp_path: Path) -> None:
    run = written(tmp_path / "x", {"one": A, "two": B}, Metric("error", better="lower", fraction=True))
    lines = shown(run)
    assert any(line.startswith("two 78.75") and line.endswith("*") for line in lines)
    assert any(line.startswith("one 85.25") and "0 of 4" in line for line in lines)


def test_what_it_takes_to_reach_a_target(tmp_path: Path) -> None:
    """Half of the final value after 100 bytes; arm two reaches 0.82 with one seed of four."""
    lines = shown(written(tmp_path / "x", {"one": A, "two": B}), target=0.82)
    assert "one 82.00 3 of 4 2 0.0002 -" in lines
    assert "two 82.00 1 of 4 never never -" in lines


def test_defaults_of_an_arms_own_part_are_settings_of_it(tmp_path: Path) -> None:
    run = written(tmp_path / "x", {"one": A, "two": B})
    kept = run / folders.DEFAULTS
    kept.write_text('{"two": {"channel.k_factor": 3.0}}')
    settings = gather([run]).settings
    assert settings["two"]["channel.k_factor"] == 3.0
    assert "channel.k_factor" not in settings["one"]
    kept.write_text('{"two": 3.0}')
    with pytest.raises(RunFolderError, match=r"defaults\.json' is damaged: an arm's defaults are no table"):
        gather([run])


def test_a_run_without_a_summary_of_this_version_is_summed_up_again(tmp_path: Path) -> None:
    run = written(tmp_path / "x", {"one": A, "two": B})
    whole = folders.read_json(run / folders.SUMMARY)
    old = {key: value for key, value in whole.items() if key not in ("comparisons", "reach")}
    (run / folders.SUMMARY).write_text(strict_json.dumps(old))
    assert told_by(run) == whole
    (run / folders.SUMMARY).unlink()
    assert told_by(run) == whole | {"complete": False, "error": "the run has not ended"}


def test_mistakes_get_one_sentence(tmp_path: Path) -> None:
    run = written(tmp_path / "x", {"one": A, "two": B})
    other = written(tmp_path / "y", {"one": A}, Metric("accuracy", better="lower"))
    undirected = written(tmp_path / "z", {"one": A}, Metric("plain"))
    for runs, options, words in (
        ([tmp_path / "no"], {}, "is not a run folder: it holds no scenario.toml"),
        ([run, run], {}, "stands there twice; give every run once"),
        ([run], {"metric": "acuracy/average"}, "did you mean 'accuracy/average'?"),
        ([run], {"reference": "tow"}, "reference = 'tow' is no arm here; did you mean 'two'?"),
        ([undirected], {"target": 0.5}, "has no direction, so nothing reaches it"),
    ):
        with pytest.raises(RunFolderError) as error:
            gather(runs, **options)
        assert words in str(error.value)
    with pytest.raises(ScenarioError, match="declared in two ways"):
        gather([run, other])


def test_nothing_to_compare_is_said(tmp_path: Path) -> None:
    assert "nothing to compare: there is one arm" in shown(written(tmp_path / "x", {"one": A}))
    plain = written(tmp_path / "y", {"one": A, "two": B}, Metric("plain"))
    assert "nothing to compare: 'plain/average' has no direction; give --reference" in shown(plain)
    assert any(line.startswith("two 0.79") and "higher" not in line for line in shown(plain, reference="one"))


def test_the_command_prints_the_comparison(tmp_path: Path) -> None:
    run = written(tmp_path / "x", {"one": A, "two": B})
    result = CliRunner().invoke(app, ["compare", str(run), "--reference", "two"])
    assert result.exit_code == 0
    assert "Holm's correction over one comparison" in " ".join(result.output.split())
    assert CliRunner().invoke(app, ["compare", str(run), "--reference", "tow"]).exit_code == 1
