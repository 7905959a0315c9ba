"""What cannot be made is found before any arm trains, and the sentence says in which arm it stands."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from semfed.clients.multitask import MultitaskClient
from semfed.strategies.fedavg import FedAvg

import semfed
from semfed import models, training
from semfed.channels.awgn import AWGN
from semfed.data.partitions.iid import IID
from semfed.errors import DataError, ScenarioError, SemfedError
from semfed.flower import preflight, rehearsal
from semfed.flower.client.learner import Learner
from semfed.models.mlp import MLP
from semfed.runs.folder import METRICS
from semfed.scenario import Scenario, overrides
from semfed.scenario.plugins import parse
from semfed.testing.trials import SMALL
from tests.sources import LEARNER


class NoNetworks(MultitaskClient):
    def networks(self, build: Any) -> Any:
        raise KeyError("no networks")


class NoLearner(MultitaskClient):
    def __init__(self, session: Any) -> None:
        raise ValueError("no learner\nand more lines")


class Narrow(MLP):
    def build(self, input_shape: tuple[int, ...], outputs: int | None) -> Any:
        raise RuntimeError("no network")


class NoStrategy(FedAvg):
    stateless = True

    def __init__(self, trial: Any, settings: Any) -> None:
        raise ValueError("no strategy")


class NoChannel(AWGN):
    def __init__(self, settings: Any) -> None:
        if settings.snr_db == 3:
            raise ValueError("no channel")
        super().__init__(settings)


class NoPartition(IID):
    def deal(self, *args: Any) -> Any:
        raise ZeroDivisionError


class Metered(MultitaskClient):
    def get_properties(self, config: Any) -> Any:
        raise DataError(f"client {self.session.spec.name!r}: change it")


def name(part: type) -> str:
    return f"{__name__}:{part.__name__}"


def scenario(**changes: Any) -> Scenario:
    """Two arms, of which the second one is otherwise."""
    arms = [{"name": "sound"}, {"name": "other", **changes}]
    return overrides.load({**SMALL, "checkpoint_every": 1, "learner": "multitask", "arms": arms})


def line(part: Any) -> int:
    """Return the line of a method that raises."""
    lines, first = inspect.getsourcelines(part)
    return first + next(k for k, text in enumerate(lines) if "raise" in text)


MEND = ": change its settings, mend it, or take another"
MODEL = "cannot be made for inputs of shape {} (RuntimeError: no network): change its settings, or name another"
CLIENTS = [{"name": f"client {k}", "task": "digit"} for k in range(3)]
ALONE = {"learner": "joint", "strategy": {"name": "fedavg", "exchange": False}}
HERE = Path(__file__).name
CASES = {
    "networks": (
        {"learner": name(NoNetworks)},
        f"arms.other.learner = {name(NoNetworks)!r} cannot be made (KeyError: 'no networks'; {HERE}, line "
        f"{line(NoNetworks.networks)}){MEND}",
    ),
    "learner": (
        {"learner": name(NoLearner)},
        f"arms.other.learner = {name(NoLearner)!r} cannot be made (ValueError: no learner; {HERE}, line "
        f"{line(NoLearner.__init__)}){MEND}",
    ),
    "encoder": ({"model": {"encoder": name(Narrow)}}, f"arms.other: model {name(Narrow)!r} {MODEL.format((1, 8, 8))}"),
    "decoder": ({"model": {"decoder": name(Narrow)}}, f"arms.other: model {name(Narrow)!r} {MODEL.format((4,))}"),
    "a client's encoder": (
        {"clients": [*CLIENTS[:2], {**CLIENTS[2], "encoder": name(Narrow)}], **ALONE},
        f"arms.other: model {name(Narrow)!r} {MODEL.format((1, 8, 8))}",
    ),
    "a client's channel": (
        {"clients": [*CLIENTS[:2], {**CLIENTS[2], "snr_db": 3.0}], "channel": {"name": name(NoChannel), "uses": 4}},
        f"arms.other.channel = {name(NoChannel)!r} cannot be made (ValueError: no channel; {HERE}, line "
        f"{line(NoChannel.__init__)}){MEND}",
    ),
    "strategy": (
        {"strategy": name(NoStrategy)},
        f"arms.other.strategy = {name(NoStrategy)!r} cannot be made (ValueError: no strategy; {HERE}, "
        f"line {line(NoStrategy.__init__)}){MEND}",
    ),
    "partition": (
        {"data": {"partition": name(NoPartition)}},
        f"arms.other.data.partition = {name(NoPartition)!r} cannot be made (ZeroDivisionError: ; {HERE}, "
        f"line {line(NoPartition.deal)}){MEND}",
    ),
    "a sentence of its own": ({"learner": name(Metered)}, "arms.other: client 'client 2': change it"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_later_arm_cannot_make_ends_the_run_before_it_begins(case: str, tmp_path: Path) -> None:
    changes, sentence = CASES[case]
    with pytest.raises((ScenarioError, DataError)) as raised:
        semfed.run(scenario(**changes), out=tmp_path / "run")
    assert str(raised.value) == sentence
    assert not (tmp_path / "run").exists()


def test_without_arms_the_setting_stands_alone() -> None:
    single = overrides.load({**SMALL, "learner": name(NoLearner)})
    with pytest.raises(ScenarioError, match=r"^learner = '.*:NoLearner' cannot be made"):
        preflight.check(single, None)


def test_one_client_of_every_kind_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand equal clients are one; another encoder makes another kind, and another seed none."""
    made = list[int]()
    before = Learner.rehearse

    def noted(self: Learner) -> None:
        made.append(self.session.client)
        before(self)

    monkeypatch.setattr(Learner, "rehearse", noted)
    alike = {"count": 1000, "task": "digit"}
    partition = {"source": "digits", "partition": {"name": "iid"}}
    preflight.check(overrides.load({**SMALL, "clients": alike, "data": partition, "seeds": [0, 1]}), None)
    assert made == [999]
    own = [*CLIENTS, {**CLIENTS[0], "name": "another", "encoder": {"name": "mlp", "hidden": [4]}}]
    preflight.check(overrides.load({**SMALL, **ALONE, "clients": own}), None)
    assert made[1:] == [2, 3]


def test_a_rehearsal_changes_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it leaves in the process is what clients would have made themselves."""
    rehearsed = semfed.run(scenario(), out=tmp_path / "rehearsed")
    monkeypatch.setattr(rehearsal, "rehearse", lambda *args: None)
    plain = semfed.run(scenario(), out=tmp_path / "plain")
    histories = [(one.folder / METRICS).read_text() for one in (rehearsed, plain)]
    assert histories[0] == histories[1] != ""


def test_a_model_names_itself() -> None:
    with pytest.raises(ScenarioError, match=r"model '.*:Narrow' cannot be made for inputs of shape \(3,\)"):
        models.build(parse("models", name(Narrow)), (3,), outputs=2, stream=(0, "encoder", 0))


def test_an_alignment_is_rehearsed_without_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> float:
        raise AssertionError("trained")

    monkeypatch.setattr(training, "fit", refuse)
    preflight.check(overrides.load("alignment-digits"), None)
    classifier = {"model.decoder": name(Narrow)}
    with pytest.raises(ScenarioError, match=r"arms\..*: model '.*:Narrow' cannot be made for inputs of shape \(\d+,\)"):
        preflight.check(overrides.load("alignment-digits", classifier), None)


def test_files_of_latents_are_looked_for(tmp_path: Path) -> None:
    arrays = {"train": np.ones((4, 2), np.float32), "test": np.ones((2, 2), np.float32)}
    labels = {"train_labels": np.zeros(4, np.int64), "test_labels": np.zeros(2, np.int64)}
    np.savez(tmp_path / "here.npz", **arrays, **labels)
    files = {"name": "files", "access_point": "here.npz", "users": ["here.npz", "here.npz", "here.npz", "gone.npz"]}
    with pytest.raises(DataError, match=r"^arms\..*gone.npz': latents cannot be read"):
        preflight.check(overrides.load("alignment-digits", {"learner.latents": files}), tmp_path)


# -- the first minibatch of a learner among parts of somebody's own ---------------------------------------

CODE = (
    LEARNER
    + """
from semfed.channels import Channel
from semfed.data.partitions.base import Partition


class Unreduced(Good):
    def loss(self, nets, batch, send):
        return cross_entropy(self.logits(nets, batch, send), batch.labels, reduction="none")


class Wrong(Good):
    def loss(self, nets, batch, send):
        return batch.targets


class Bare(Good):
    def score(self, nets, batch, send):
        return {"accuracy": (self.logits(nets, batch, send).argmax(1) == batch.labels).float().mean()}


class Undeclared(Good):
    def score(self, nets, batch, send):
        return {"hits": correct(self.logits(nets, batch, send), batch.labels)}


class Unscored(Good):
    score = Learner.score


class Mute(Good):
    def logits(self, nets, batch, send):
        return nets.decoder(nets.encoder(batch.images))


class Erasing(Channel):
    def distort(self, x, state):
        return x * (x > 0)


class Broken(Channel):
    def distort(self, x, state):
        return self.settings.gain * x


class Empty(Partition):
    def deal(self, labels, classes, clients, generator):
        raise ValueError("nothing to deal")
"""
)


@pytest.fixture
def beside(module_beside: Callable[[str, str], Path]) -> Path:
    return module_beside("own", CODE)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('learner="own:Unreduced"', r"loss\(\) gives shape \(20,\) instead of one number"),
        (
            'learner="own:Wrong"',
            r"test \(AttributeError: 'Batch' object has no attribute 'targets'; own.py, line \d+\): mend it",
        ),
        ('learner="own:Bare"', r"score\(\) gives 'accuracy' as a Tensor, which cannot be added up over batches"),
        ('learner="own:Undeclared"', "reports 'hits', which it does not declare"),
        ('learner="own:Unscored"', "declares 'accuracy', which is the headline, and scores loss alone"),
        ('learner="own:Mute"', r"TypeError: loss\(\) never calls send, so that nothing passes the channel"),
        ('channel={ name = "own:Erasing", uses = 8 }', r"channel.snr_db = 10 has no effect on channel 'own:Erasing'"),
        (
            'channel={ name = "own:Broken", uses = 8 }',
            r"\(AttributeError: .* has no attribute 'gain'; own.py, line \d+",
        ),
        (
            'data.partition="own:Empty"',
            r"data.partition = 'own:Empty' cannot be made \(ValueError: nothing to deal; own.py, line \d+\)",
        ),
    ],
)
def test_a_mistake_is_told_before_training(setting: str, said: str, beside: Path) -> None:
    with pytest.raises(SemfedError, match=said):
        semfed.run(beside / "scenario.toml", overrides=[setting], seeds=[0], out=beside / "run")
    assert not (beside / "run").exists()
