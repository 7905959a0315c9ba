"""Parts of others are tried before anything is trained: what is wrong with them shows on a batch.

Those of other libraries meet a batch of two; a scenario with parts of somebody's own takes a first minibatch.
"""

import inspect
import traceback
from pathlib import Path

import torch
from flwr.app import Context, RecordDict

from semfed.channels import Channel, ChannelState, Meter
from semfed.channels.foreign import ForeignChannel
from semfed.errors import ScenarioError, SemfedError
from semfed.events.metrics import declared_by, declared_in
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.learner import Learner
from semfed.flower.client.session import Session
from semfed.flower.trial import Trial
from semfed.models.foreign import ForeignModel
from semfed.scenario import Scenario
from semfed.scenario.foreign import name_of, reason


def try_foreign_parts(trial: Trial, data_root: Path | None, cache: ProcessCache) -> None:
    """Make the networks of a trial's clients, and let them learn and decide once, where others have written parts.

    Parameters
    ----------
    trial : Trial
    data_root : Path or None
    cache : ProcessCache
        Keeps the networks for clients of the same process.

    Raises
    ------
    ScenarioError
        If a part cannot be made, raises, or does not fit its place; see `semfed.models.foreign` and `try_channel`.
    """
    scenario = trial.scenario
    if issubclass(scenario.channel.load(), ForeignChannel):
        try_channel(scenario.channel.make())
    kinds = {(client.task, client.encoder): index for index, client in enumerate(scenario.clients)}
    for (_, encoder), index in kinds.items():
        models = [choice.load() for choice in (encoder or scenario.model.encoder, scenario.model.decoder)]
        foreign = any(isinstance(model, type) and issubclass(model, ForeignModel) for model in models)
        own = not all(map(_is_built_in, (scenario.learner.load(), scenario.channel.load(), *models)))
        if foreign or own:
            context = Context(0, 0, {"partition-id": index}, RecordDict(), {})
            learner = scenario.learner.load()(Session(context, trial, index, cache, data_root))
            if foreign:
                learner.get_properties({})
            if own and isinstance(learner, Learner):
                _rehearse(learner, scenario)


def _is_built_in(part: object) -> bool:
    return getattr(part, "__module__", "").partition(".")[0] == "semfed"


def _rehearse(learner: Learner, scenario: Scenario) -> None:
    """Insist that a learner among parts of somebody's own gets through a minibatch, and scores what it declares."""
    name = scenario.learner.name
    try:
        scored = learner.rehearse()
    except SemfedError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        written = {inspect.getfile(type(learner)), inspect.getfile(type(learner.channel))}
        last = next((frame for frame in reversed(frames) if frame.filename in written), frames[-1])
        raise ScenarioError(
            f"learner {name!r} fails at its first minibatch or test, in {Path(last.filename).name}, line "
            f"{last.lineno} ({reason(error)}): mend it"
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
    numbers = channel.settings.width or 4 * channel.settings.reals_per_symbol
    x = torch.randn(2, numbers, generator=torch.Generator().manual_seed(0)).requires_grad_()
    before = {key: value.clone() for key, value in channel.state_dict().items()}
    try:
        first, again = (channel(x, ChannelState(torch.Generator().manual_seed(1), Meter())) for _ in range(2))
    except ScenarioError:
        raise
    except Exception as error:
        raise _refused(channel, f"cannot send a batch of shape (2, {numbers}) ({reason(error)})") from error
    changed = [key for key, value in channel.state_dict().items() if not torch.equal(value, before[key])]
    if changed:
        raise _refused(channel, f"changes its own {changed[0]!r} when it sends, so that results depend on the order")
    if not torch.isfinite(first).all():
        raise _refused(channel, "gives out numbers that are not finite")
    if not torch.equal(first, again):
        raise _refused(channel, "gives out other numbers for the same input and the same random stream")
    if not first.requires_grad:
        raise _refused(channel, "lets no gradient pass, so that no encoder can learn")


def _refused(channel: Channel, problem: str) -> ScenarioError:
    part = getattr(channel, "part", type(channel))
    return ScenarioError(f"channel {name_of(part)} {problem}: set its arguments, or wrap it in a class that mends this")
