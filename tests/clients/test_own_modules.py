"""Modules that a learner makes itself, by torch's constructors, start from weights that follow from the seed alone."""

from typing import Any

import pytest
import torch
from flwr.app import Context, RecordDict
from torch import nn

from semfed.errors import ScenarioError
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.learner import Learner
from semfed.flower.client.session import Session
from semfed.flower.trial import Trial
from semfed.training import weights
from semfed.training.end_to_end import EndToEnd
from semfed.training.isolation import isolated
from semfed.training.objective import Networks

from .learners import scenario


class Projecting(EndToEnd, Learner):
    """Has a projection head of its own beside what the scenario names."""

    keeps_model = True
    stays = True

    def networks(self, build: Any) -> Networks:
        made = {"encoder": build.encoder(), "decoder": build.decoder(self.task.size, shared=True)}
        head = {"head": nn.Linear(3, 3)}
        return Networks(made, head) if self.stays else Networks(made | head)


class Sharing(Projecting):
    """Shares it, too."""

    stays = False


def head(kind: str, seed: int, client: int, message: str = "message") -> torch.Tensor:
    """Return the head's weights of a client that has nothing yet, in a process of its own."""
    given = scenario("joint", {"learner": {"name": f"{__name__}:{kind}"}})
    trial = Trial(given, given.name, seed)
    context = Context(0, 0, {"partition-id": client}, RecordDict(), {})
    with isolated(seed, message, client):
        learner: Any = given.learner.load()(Session(context, trial, client, ProcessCache(), None))
        state = learner._load([], {}).state
    return torch.tensor(weights.to_arrays(state)["head.weight"])


class Lazy(Projecting):
    """Does not say how wide its head is."""

    def networks(self, build: Any) -> Networks:
        return Networks({"encoder": build.encoder()}, {"head": nn.LazyLinear(3)})


def test_a_lazy_layer_is_refused() -> None:
    with pytest.raises(ScenarioError, match="network 'head' has a lazy layer, which has no weights to start from"):
        head("Lazy", 0, 0)


def test_they_are_in_evaluation_mode_until_they_learn() -> None:
    given = scenario("joint", {"learner": {"name": f"{__name__}:Projecting"}})
    context = Context(0, 0, {"partition-id": 0}, RecordDict(), {})
    made = given.learner.load()(Session(context, Trial(given, given.name, 0), 0, ProcessCache(), None)).resident()
    assert not [module for network in made for module in network.modules() if module.training]


@pytest.mark.parametrize("kind", ["Projecting", "Sharing"])
def test_they_follow_from_the_seed_alone(kind: str) -> None:
    first = head(kind, 0, 0)
    assert torch.equal(first, head(kind, 0, 1)), "of every client"
    assert torch.equal(first, head(kind, 0, 0, "another message"))
    assert not torch.equal(first, head(kind, 1, 0))
