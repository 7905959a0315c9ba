"""Parts are made and tried before anything is trained, for every arm: what is wrong with them shows at once."""

import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context, RecordDict

from semfed.channels import Channel, ChannelState, Meter
from semfed.channels.foreign import ForeignChannel
from semfed.errors import ScenarioError, SemfedError
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.session import Session
from semfed.flower.server.run import make_strategy
from semfed.flower.trial import Trial
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
    for index in {(client.task, client.encoder): k for k, client in enumerate(scenario.clients)}.values():
        with naming(where, "learner", scenario.learner):
            learner = scenario.learner.load()(session(index))
            if hasattr(learner, "rehearse"):
                learner.rehearse()
            else:  # a stock client of Flower's
                learner.get_properties({})
    with naming(where, "strategy", scenario.strategy):
        make_strategy(trial)


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


def _place(error: Exception, part: Any) -> str:
    """Return the file and line where an exception came from, the last of the part's own file if it was there."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if inspect.isclass(part) and frame.filename == inspect.getsourcefile(part)]
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
