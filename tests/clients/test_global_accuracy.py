"""Accuracy on a client's own classes and on the whole test set are two metrics; a scenario has one headline."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

import semfed
from semfed.errors import ScenarioError
from semfed.report import plots
from semfed.report.tables import score_table
from semfed.runs.folder import read_metrics, read_records
from semfed.scenario import Scenario, overrides

from .learners import client, scenario

CLASSES = {
    "tasks": {"t1": {"values": list(range(10)), "rest": None}},
    "data": {"partition": {"name": "counts", "counts": [[20, 20, 20], [0, 0, 0, 0, 0, 0, 0, 30, 30]]}},
}


class Sevens(nn.Module):
    """Decides for class 7, whatever arrives."""

    def forward(self, received: torch.Tensor) -> torch.Tensor:
        return one_hot(torch.full((len(received),), 7), 10).float()


def classes(**learner: Any) -> Scenario:
    tree = scenario("joint").tree()
    tree["tasks"] = {"t1": {"values": list(range(10))}}
    tree["data"]["partition"] = CLASSES["data"]["partition"]
    tree["learner"] |= learner
    return Scenario.model_validate(tree)


def test_a_decoder_that_knows_one_class_by_hand() -> None:
    """Class 7 is half of client 2's tested images, none of client 1's, and its own share of the whole test set."""
    given = classes(test_per_class=40, test_snr_db=(-5.0,))
    for index, own in ((0, 0.0), (1, 0.5)):
        made = client(given, index)
        labels = made.session.dataset.test.labels
        _, samples, metrics = made.test_pair(made.build_encoder(), Sevens(), given.rounds)
        assert samples == 40 * len(made.train_labels.unique())
        assert metrics["accuracy/own-classes"] == own
        assert metrics["accuracy-at--5dB/own-classes"] == own
        assert metrics["accuracy/global"] == int((labels == 7).sum()) / len(labels)
        assert "accuracy" not in metrics


def test_baselines_belong_to_their_metric() -> None:
    made = client(classes(test_per_class=40))
    told = made.get_properties({})
    share = made.session.dataset.test.labels.bincount().max().item() / len(made.session.dataset.test.labels)
    assert told["baseline/accuracy/own-classes"] == pytest.approx(1 / 3)
    assert told["baseline/accuracy/global"] == pytest.approx(share)
    assert told["baseline/chance/own-classes"] == told["baseline/chance/global"] == 0.1


@pytest.mark.parametrize(("when", "rounds"), [("last", {3}), ("every", {1, 2, 3}), ("never", set())])
def test_the_global_test_is_made_when_it_is_asked_for(when: str, rounds: set[int]) -> None:
    given = classes(global_test=when)
    made = client(given)
    found = {
        k for k in (1, 2, 3) if "accuracy/global" in made.test_pair(made.build_encoder(), made.build_decoder(), k)[2]
    }
    assert found == rounds
    assert ("baseline/accuracy/global" in made.get_properties({})) == bool(rounds)


@pytest.mark.parametrize("when", ["last", "every"])
def test_the_global_test_leaves_every_other_number_as_it_is(when: str) -> None:
    with_, without = (client(classes(global_test=choice)) for choice in (when, "never"))
    tested = [made.test_pair(made.build_encoder(), made.build_decoder(), 3) for made in (with_, without)]
    for name in ("accuracy", "balanced-accuracy", "f1"):
        del tested[0][2][f"{name}/global"]
    assert tested[0] == tested[1]


SHORT = ["rounds=2", "clients.count=3", "data.q=12", "model.encoder.nf=4", "learner.global_test=every"]
SHORT += ["arms.fedavg.learner.global_test=every", "learner.show_features=0", "arms.fedavg.learner.show_features=0"]


def test_tables_figures_and_records_follow_the_headline(tmp_path: Path) -> None:
    arms = ["fedcl", "fedavg"]
    for headline, label in (("accuracy/own-classes", "own-classes"), ("accuracy/global", "global")):
        out = tmp_path / label
        done = semfed.run("fedcl-digits", arms=arms, seeds=[0], overrides=[*SHORT, f"headline={headline}"], out=out)
        assert f'headline = "{headline}"' in (out / "scenario.toml").read_text()
        assert done.summary["headline"] == headline
        table = score_table(done.summary, read_metrics(out))
        assert table.columns[-1].header == label
        assert {column.header for column in table.columns} == {"arm", "own-classes", "global"}
        assert "accuracy/average" not in done.summary["baselines"]
        for arm in arms:
            final = done.summary["arms"][arm]["final"]
            assert "accuracy/average" not in final
            told = [r.value for r in read_records(out) if (r.arm, r.round, r.metric) == (arm, 2, headline)]
            assert final[headline]["mean"] == pytest.approx(sum(told) / 3)
        drawn = {path.stem for path in plots.plot(out)}
        assert f"accuracy-{label}-vs-bytes" in drawn
        assert "accuracy-vs-test-snr" in drawn


def test_a_headline_is_customary_or_chosen_and_always_one_that_is_measured() -> None:
    assert scenario("joint").headline == "accuracy/own-classes"
    assert scenario("multitask").headline == "accuracy/average"
    assert scenario("cooperative").headline == "error/average"
    assert overrides.load("mtoc-mnist").headline == "accuracy/average"
    assert overrides.load("iopm-mnist").headline == "error/average"
    for given in (scenario("joint"), scenario("cooperative"), scenario("multitask", {"headline": "accuracy/t1"})):
        assert Scenario.model_validate(given.tree()) == given
    for learner, headline, remedy in (
        ("multitask", "accuracy/global", "'accuracy/average', 'accuracy/t1'"),
        ("joint", "accuracy/average", "'accuracy/own-classes', 'accuracy/global'"),
        ("cooperative", "error/t9", "'error/average', 'error/t1', 'error/t2'"),
    ):
        with pytest.raises(ScenarioError, match=f"headline = '{headline}' is not measured by.*{learner}.*{remedy}"):
            scenario(learner, {"headline": headline})
    with pytest.raises(ScenarioError, match="headline = 'accuracy/global' is not measured"):
        scenario("joint", {"headline": "accuracy/global", "learner": {"global_test": "never"}})
    with pytest.raises(ScenarioError, match=r"arms\.fedcl\.headline: it is the same for all arms"):
        overrides.load("fedcl-digits", ["arms.fedcl.headline=accuracy/global"])
