"""Checks of clients: what strategies, engines and checkpoints rely on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from flwr.app import Context, RecordDict
from torch import nn

from semfed.channels import Channel
from semfed.errors import ScenarioError
from semfed.flower.client.base import BaseLearner
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.learner import Learner
from semfed.flower.client.session import Session
from semfed.flower.client.together import Answer, fit_together, trains_ahead, why_alone
from semfed.flower.server.broadcast import BroadcastStrategy
from semfed.flower.trial import Trial
from semfed.runs.api import find_data_root
from semfed.scenario import Scenario
from semfed.scenario.plugins import Plugin
from semfed.testing import trials
from semfed.testing.check import Subject, require, skip
from semfed.testing.kit import Kit, Part

Parameters = list[npt.NDArray[Any]]
ROUNDING = 1e-4
"""Of weights after a round of a cohort."""


@dataclass(frozen=True)
class ClientSubject(Subject):
    """A client in its scenario.

    Attributes
    ----------
    scenario : Scenario
    ray : bool
        Whether to start Ray.
    """

    scenario: Scenario
    ray: bool

    def client(self, index: int = 0, *, cache: ProcessCache | None = None, state: RecordDict | None = None) -> Any:
        """Build a client as for a message: with what its process has in memory, and with what it keeps itself."""
        context = Context(0, 0, {"partition-id": index}, RecordDict() if state is None else state, {})
        trial = Trial(self.scenario, self.scenario.name, self.scenario.seeds[0])
        root, cpu = find_data_root(None), torch.device("cpu")
        made: BaseLearner = self.choice.load()(Session(context, trial, index, cache or ProcessCache(), root, cpu))
        return made

    def require_fit(self) -> None:
        """Leave a check that calls ``fit`` and ``evaluate`` with parameters where a strategy sends something else."""
        if not issubclass(self.scenario.strategy.load(), BroadcastStrategy):
            skip(f"strategy {self.scenario.strategy.name!r} sends messages of its own")


def _subject(choice: Plugin, around: Mapping[str, Any] | None = None, ray: bool = False) -> ClientSubject:
    if not (isinstance(choice.load(), type) and issubclass(choice.load(), BaseLearner)):
        raise ScenarioError(f"{choice.name!r} is no client: derive it from semfed.flower.client.learner.Learner")
    return ClientSubject(choice, trials.small("learner", choice, around or {}), ray)


KIT = Kit("clients", _subject)


def check_client(part: Part, *, around: Mapping[str, Any] | None = None, ray: bool = False) -> dict[str, str]:
    """Run all checks of a client.

    Parameters
    ----------
    part : str, type or mapping
        Its name, the class, or a table with ``name`` and settings.
    around : mapping, optional
        What of the small scenario is to be otherwise, such as ``{"strategy": "fedproto"}``; see
        `semfed.testing.trials.SMALL`.
    ray : bool
        Whether to compare with Ray actors, too, which takes seconds to start.

    Returns
    -------
    dict of str to str
        By check, ``passed``, or why it does not apply.

    Raises
    ------
    CheckFailed
        With one line for every check that failed.
    """
    return KIT.run(part, around=around, ray=ray)


def _equal(one: Parameters, other: Parameters) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))


def _copies(parameters: Parameters) -> Parameters:
    return [array.copy() for array in parameters]


@KIT.check
def equal_seeds_give_equal_numbers(subject: ClientSubject) -> None:
    """Twice in one process, one after the other."""
    require(
        trials.repeats(subject.scenario),
        "two runs with one seed differ: draw from self.session.generator(), and keep what lasts by self.session.save()",
    )


@KIT.check
def every_number_of_nodes_gives_the_same_numbers(subject: ClientSubject) -> None:
    """Check, for a node may host one client or several."""
    trials.require_equal(
        subject.scenario,
        trials.numbers(subject.scenario),
        trials.numbers(subject.scenario, nodes=2),
        "with two nodes for three clients the numbers are others: use self.session.client, and nothing of the node",
    )


@KIT.check
def ray_gives_the_same_numbers(subject: ClientSubject) -> None:
    """In other processes, in whatever order."""
    if not subject.ray:
        skip("Ray is not asked for: give ray=True")
    trials.require_equal(
        subject.scenario,
        trials.numbers(subject.scenario),
        trials.numbers(subject.scenario, engine="ray"),
        "engine ray gives other numbers than this process: use nothing of the process, its environment or its place",
    )


@KIT.check
def a_resumed_run_gives_the_same_numbers(subject: ClientSubject) -> None:
    """Check an end after the first round, and the rest later."""
    trials.require_equal(
        subject.scenario,
        *trials.interrupted(subject.scenario),
        "a run that goes on after its first round ends with other numbers: keep what lasts by self.session.save(), and "
        "nothing in the class or the module",
    )


@KIT.check
def clients_start_from_the_same_arrays(subject: ClientSubject) -> None:
    """Check, for the strategy starts from what the first one proposes."""
    arrays = [subject.client(index).shared() for index in (0, 1)]
    require(
        list(arrays[0]) == list(arrays[1]) and _equal(*(list(own.values()) for own in arrays)),
        "two clients propose other arrays to start from: let shared ones depend on the seed alone, as build.encoder() "
        "and build.decoder(shared=True) do",
    )


@KIT.check
def what_comes_is_not_changed(subject: ClientSubject) -> None:
    """Parameters are shared with other clients of the process."""
    subject.require_fit()
    given = _copies(subject.client().get_parameters({}))
    before = _copies(given)
    subject.client().fit(given, {"server-round": 1})
    require(_equal(given, before), "training writes into the parameters that came: copy what you change")


@KIT.check
def nothing_is_carried_over(subject: ClientSubject) -> None:
    """Whom the process has served before does not matter."""
    subject.require_fit()
    used, alone = ProcessCache(), ProcessCache()
    for cache in (used, alone):
        start = subject.client(cache=cache).get_parameters({})
        if cache is used:
            other, _, _ = subject.client(1, cache=used).fit(_copies(start), {"server-round": 1})
            subject.client(1, cache=used).evaluate(_copies(other), {"server-round": 1})
    found = [subject.client(cache=cache).fit(_copies(start), {"server-round": 1}) for cache in (used, alone)]
    (one, *_, told), (other, *_, told_alone) = found
    require(
        _equal(one, other) and told == told_alone,
        "what another client did in this process before shows in a client's training: take networks from "
        "self.resident(), and keep nothing in the class",
    )


@KIT.check
def a_test_changes_nothing(subject: ClientSubject) -> None:
    """Check, for a client may be tested or not; its training goes on from the same."""
    subject.require_fit()
    state, cache = RecordDict(), ProcessCache()
    start = subject.client(cache=cache).get_parameters({})
    trained, _, _ = subject.client(cache=cache, state=state).fit(start, {"server-round": 1})
    trained, kept = _copies(trained), _contents(state)
    results = [subject.client(cache=cache, state=state).evaluate(trained, {"server-round": 1}) for _ in range(2)]
    require(results[0] == results[1], "two tests of the same weights differ: draw from self.session.generator()")
    require(_contents(state) == kept, "a test changes what the client keeps: save in fit() alone")


def _contents(state: RecordDict) -> dict[str, bytes]:
    return {f"{name}/{k}": array.numpy().tobytes() for name, r in state.array_records.items() for k, array in r.items()}


@KIT.check
def networks_learn_in_training_mode_alone(subject: ClientSubject) -> None:
    """Dropout and running statistics belong to training."""
    subject.require_fit()
    start = subject.client().get_parameters({})
    with modes_seen() as in_fit:
        trained, _, _ = subject.client().fit(start, {"server-round": 1})
    with modes_seen() as in_evaluate:
        subject.client().evaluate(trained or start, {"server-round": 1})
    require((False, True) not in in_fit, "networks learn in evaluation mode in fit(): leave their modes to the base")
    modes = {training for training, _ in in_evaluate}
    require(True not in modes, "networks are in training mode in evaluate(): leave their modes to the base")


@contextmanager
def modes_seen() -> Iterator[set[tuple[bool, bool]]]:
    """Collect whether networks that compute are in training mode, and whether gradients are recorded."""
    seen = set[tuple[bool, bool]]()

    def note(module: nn.Module, inputs: Any) -> None:
        if not isinstance(module, Channel):
            seen.add((module.training, torch.is_grad_enabled()))

    handle = nn.modules.module.register_module_forward_pre_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


@KIT.check
def side_by_side_they_learn_as_alone(subject: ClientSubject) -> None:
    """Check, for what a class says of its objective, that it can be stacked, nobody else looks at."""
    why = why_alone(subject.choice.load())
    if why is not None:
        skip(f"it is trained alone: {why}")
    subject.require_fit()
    cache, config = ProcessCache(), {"server-round": 1}
    start = subject.client().get_parameters({})
    alone = [subject.client(k).fit(_copies(start), config) for k in (0, 1)]
    learners = [subject.client(k, cache=cache) for k in (0, 1)]

    def one(k: int) -> Answer:
        answer: Answer = learners[k].fit(start, config)
        return answer

    beside = fit_together(learners, [start, start], [config, config], alone=one, size=2, cache=cache)
    if trains_ahead(subject.choice.load()):
        beside = [one(k) for k in (0, 1)]
    for (arrays, _, _), answer in zip(alone, beside, strict=True):
        require(
            answer is not None
            and all(np.allclose(*pair, atol=ROUNDING) for pair in zip(arrays, answer[0], strict=True)),
            "trained side by side, clients learn something else than alone, or fail: let what differs between them "
            "come to loss() by its arguments, write it for torch.vmap, or leave stacks = True out",
        )


@KIT.check
def every_network_learns(subject: ClientSubject) -> None:
    """Check, for what is shared and never changes costs bytes in every round."""
    if not issubclass(subject.choice.load(), Learner):
        skip("it is no Learner, so that its networks are its own affair")
    client = subject.client()
    nets = client.resident()
    before = {name: tensor.clone() for name, tensor in nets.state.items()}
    client.fit(client.get_parameters({}), {"server-round": 1})
    idle = []
    for network in (*nets.shared, *nets.private):
        own = [name for name in before if name.startswith(f"{network}.")]
        if own and all(torch.equal(before[name], nets.state[name]) for name in own):
            idle.append(network)
    require(not idle, f"the networks {idle} are the same after training: use them in loss(), or remove them")
