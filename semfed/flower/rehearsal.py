"""Parts are made and tried before anything is trained, for every arm: what is wrong with them shows at once.

Channels of other libraries meet a batch of two; a learner among parts of somebody's own takes a first minibatch.
"""

import inspect
import math
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context, RecordDict
from torch import Tensor

from semfed.channels import Channel, ChannelState, Meter
from semfed.channels.base import NO_EFFECT
from semfed.channels.foreign import ForeignChannel
from semfed.errors import ScenarioError, SemfedError
from semfed.events.metrics import declared_by, declared_in
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.learner import Learner
from semfed.flower.client.session import Session
from semfed.flower.server.run import make_strategy
from semfed.flower.trial import Trial
from semfed.scenario import Scenario
from semfed.scenario.foreign import name_of, reason
from semfed.scenario.plugins import Plugin


def rehearse(trial: Trial, where: str, data_root: Path | None, cache: ProcessCache) -> None:
    """Make the channels of a trial, its strategy, and one client of every kind with its networks.

    Clients are of one kind if they have one task and one encoder, so that a thousand equal ones are one.

    Parameters
    ----------
    trial : Trial
    where : str
        How names of the arm's settings begin in messages: ``arms.<name>.``, or nothing.
    data_root : Path or None
    cache : ProcessCache
        Keeps the networks for clients of the same process.

    Raises
    ------
    SemfedError
        If a part cannot be made, or does not fit its place; see also `semfed.models.foreign` and `try_channel`.
    """
    scenario = trial.scenario

    def session(index: int) -> Session:
        return Session(Context(0, 0, {"partition-id": index}, RecordDict(), {}), trial, index, cache, data_root)

    for index in {client.snr_db: k for k, client in enumerate(scenario.clients)}.values():
        choice = session(index).channel_choice
        with naming(where, "channel", choice):
            channel = choice.make()
            if isinstance(channel, ForeignChannel):
                try_channel(channel)
            elif isinstance(channel, Channel) and not _is_built_in(type(channel)):
                _require_noise(channel)
    for index in {(client.task, client.encoder): k for k, client in enumerate(scenario.clients)}.values():
        with naming(where, "learner", scenario.learner):
            learner = scenario.learner.load()(session(index))
            if hasattr(learner, "rehearse"):
                learner.rehearse()
            else:  # a stock client of Flower's
                learner.get_properties({})
            parts = [choice.load() for choice in _chosen(scenario, index)]
            if isinstance(learner, Learner) and not all(map(_is_built_in, parts)):
                try_learner(learner)
    with naming(where, "strategy", scenario.strategy):
        make_strategy(trial)


def _chosen(scenario: Scenario, client: int) -> tuple[Plugin, ...]:
    """Return the parts whose code is at work while a client trains."""
    encoder = scenario.clients[client].encoder or scenario.model.encoder
    return scenario.learner, scenario.channel, encoder, scenario.model.decoder


def _is_built_in(part: Any) -> bool:
    return bool(part.__module__.partition(".")[0] == "semfed")


def try_learner(learner: Learner) -> None:
    """Insist that a learner gets through a minibatch and a few test images, and scores what it declares.

    Parameters
    ----------
    learner : Learner

    Raises
    ------
    ScenarioError
        If it does not.
    """
    scenario = learner.session.scenario
    name = scenario.learner.name
    try:
        scored = learner.try_out()
    except SemfedError:
        raise
    except Exception as error:
        place = _place(error, type(learner), type(learner.channel))
        raise ScenarioError(
            f"learner {name!r} fails at its first minibatch or test ({reason(error)}; {place}): mend it"
        ) from error
    metrics = declared_in(scenario)
    for metric in sorted(scored - {"loss"}):
        metrics.require(metric, type(learner))
    headline = metrics.of(scenario.headline).name
    expected = {metric.name for metric in declared_by(type(learner)) or ()}
    if scored and headline in expected - {metrics.of(metric).name for metric in scored}:
        raise ScenarioError(
            f"learner {name!r} declares {headline!r}, which is the headline, and scores {', '.join(sorted(scored))} "
            "alone: write a score() that has it"
        )


@contextmanager
def naming(where: str, field: str, part: Plugin) -> Iterator[None]:
    """Say of what a part raises while it is made in which arm that is, and of which setting.

    Parameters
    ----------
    where : str
        As in `rehearse`.
    field : str
        The part's setting.
    part : Plugin

    Raises
    ------
    SemfedError
        What is one sentence already keeps its type, and gets the arm's name before it.
    ScenarioError
        For any other exception; it names the line of the part's own file that raised, where there is one.
    """
    try:
        yield
    except SemfedError as error:
        if not where:
            raise
        raise type(error)(f"{where.removesuffix('.')}: {error}") from error
    except Exception as error:
        raise ScenarioError(
            f"{where}{field} = {part.name!r} cannot be made ({reason(error)}; {_place(error, part.load())}): change "
            "its settings, mend it, or take another"
        ) from error


def _place(error: Exception, *parts: Any) -> str:
    """Return the file and line where an exception came from, the last of the parts' own files if it was there."""
    frames = traceback.extract_tb(error.__traceback__)
    files = {inspect.getsourcefile(part) for part in parts if inspect.isclass(part)}
    own = [frame for frame in frames if frame.filename in files]
    last = (own or frames)[-1]
    return f"{Path(last.filename).name}, line {last.lineno}"


def try_channel(channel: Channel) -> None:
    """Insist that a channel is differentiable, finite, and follows from the transmission and its stream alone.

    Parameters
    ----------
    channel : Channel

    Raises
    ------
    ScenarioError
        If it is not, or if it is changed by what it transmits.
    """
    x = _batch(channel).requires_grad_()
    before = {key: value.clone() for key, value in channel.state_dict().items()}
    try:
        first, again = (_sent(channel, x) for _ in range(2))
    except ScenarioError:
        raise
    except Exception as error:
        raise _refused(channel, f"cannot send a batch of shape {tuple(x.shape)} ({reason(error)})") from error
    changed = [key for key, value in channel.state_dict().items() if not torch.equal(value, before[key])]
    if changed:
        raise _refused(channel, f"changes its own {changed[0]!r} when it sends, so that results depend on the order")
    if not torch.isfinite(first).all():
        raise _refused(channel, "gives out numbers that are not finite")
    if not torch.equal(first, again):
        raise _refused(channel, "gives out other numbers for the same input and the same random stream")
    if not first.requires_grad:
        raise _refused(channel, "lets no gradient pass, so that no encoder can learn")


def _require_noise(channel: Channel) -> None:
    """Insist that the SNR changes something, unless the channel fixes it; see also `semfed.testing.check_channel`."""
    if math.isinf(channel.settings.snr_db):
        return
    x = _batch(channel)
    noisier = type(channel)(channel.settings.model_copy(update={"snr_db": channel.settings.snr_db - 20}))
    if torch.equal(_sent(channel, x), _sent(noisier, x)):
        raise ScenarioError(
            f"channel.snr_db = {channel.settings.snr_db:g} has no effect on channel {name_of(type(channel))}: "
            f"{NO_EFFECT}"
        )


def _batch(channel: Channel) -> Tensor:
    """Return two inputs as wide as a channel takes them, of four symbols where it takes any."""
    numbers = channel.settings.width or 4 * channel.settings.reals_per_symbol
    return torch.randn(2, numbers, generator=torch.Generator().manual_seed(0))


def _sent(channel: Channel, x: Tensor) -> Tensor:
    """Return what arrives of a batch, always by the same random stream."""
    arrived: Tensor = channel(x, ChannelState(torch.Generator().manual_seed(1), Meter()))
    return arrived


def _refused(channel: Channel, problem: str) -> ScenarioError:
    part = getattr(channel, "part", type(channel))
    return ScenarioError(f"channel {name_of(part)} {problem}: set its arguments, or wrap it in a class that mends this")
