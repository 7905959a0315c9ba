"""What is wrong with a part of somebody's own is said before anything is trained, and before there is a run folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

import semfed
from semfed.errors import SemfedError

CODE = """
from torch.nn.functional import cross_entropy

from semfed.channels import Channel
from semfed.data.partitions.base import Partition
from semfed.events.metrics import Metric
from semfed.flower.client.learner import Learner
from semfed.training.objective import Networks, correct


class Good(Learner):
    metrics = (Metric("accuracy", better="higher", fraction=True),)

    def networks(self, build):
        return Networks({"encoder": build.encoder()}, {"decoder": build.decoder(self.task.size)})

    def logits(self, nets, batch, send):
        return nets.decoder(send(nets.encoder(batch.images)))

    def loss(self, nets, batch, send):
        return cross_entropy(self.logits(nets, batch, send), batch.labels)

    def score(self, nets, batch, send):
        return {"accuracy": correct(self.logits(nets, batch, send), batch.labels)}


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


class Broken(Channel):
    def distort(self, x, state):
        return self.settings.gain * x


class Empty(Partition):
    def deal(self, labels, classes, clients, generator):
        raise ValueError("nothing to deal")
"""


@pytest.fixture
def beside(module_beside: Callable[[str, str], Path]) -> Path:
    return module_beside("own", CODE)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('learner="own:Unreduced"', r"loss\(\) gives shape \(20,\) instead of one number"),
        (
            'learner="own:Wrong"',
            r"own.py, line \d+ \(AttributeError: 'Batch' object has no attribute 'targets'\): mend it",
        ),
        ('learner="own:Bare"', r"score\(\) gives 'accuracy' as a Tensor, which cannot be added up over batches"),
        ('learner="own:Undeclared"', "reports 'hits', which it does not declare"),
        ('learner="own:Unscored"', "declares 'accuracy', which is the headline, and scores loss alone"),
        ('channel={ name = "own:Broken", uses = 8 }', r"own.py, line \d+ \(AttributeError: .* has no attribute 'gain'"),
        ('data.partition="own:Empty"', "partition 'own:Empty' raises ValueError: nothing to deal"),
    ],
)
def test_a_mistake_is_told_before_training(setting: str, said: str, beside: Path) -> None:
    with pytest.raises(SemfedError, match=said):
        semfed.run(beside / "scenario.toml", overrides=[setting], seeds=[0], out=beside / "run")
    assert not (beside / "run").exists()
