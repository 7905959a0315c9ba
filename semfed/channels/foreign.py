"""Any ``nn.Module`` from tensor to tensor as a channel: another library's, or a user's own beside the scenario."""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from semfed import seeding
from semfed.channels.base import Channel, ChannelSettings, ChannelState, gaussian
from semfed.errors import ScenarioError
from semfed.scenario.foreign import ForeignSettings, adapted, construct, is_foreign, keywords, name_of
from semfed.scenario.settings import Decibel


class ForeignChannelSettings(ForeignSettings, ChannelSettings):
    """What surrounds another library's channel."""

    both: ClassVar[frozenset[str]] = frozenset({"snr_db"})
    snr_db: Decibel = math.inf
    """Of noise that is added to what the part gives, none by default; where the part itself has an argument of this
    name, that one is meant, and nothing is added."""

    def idle(self, scenario: Any, here: str) -> Iterator[tuple[str, str]]:
        """Tell what has no effect; see `semfed.scenario.effects`."""
        yield from super().idle(scenario, here)
        if self.told:
            yield f"{here}.snr_spread_db", "the part itself makes the noise"

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise that is added per real number."""
        return 0.0 if self.told else super().noise_std


class ForeignChannel(Channel):
    """A module behind the house's transmitter: it gets what the antenna sends, of shape (batch, uses).

    Its symbols are real numbers, or complex ones made of neighbouring pairs of reals. It draws from global random
    generators as it likes: for every call they are on a stream of the transmission's own, and put back afterwards. It
    stays in the mode in which its constructor leaves it, and is not trained.

    Where transmissions are measured it is called once more, for -x with the same random numbers: what changes its sign
    is the signal that arrived, all else is noise. That is exact for whatever is linear in x, with noise that depends
    on the power of x at most; a part that refuses -x has no received SNR.
    """

    Settings = ForeignChannelSettings
    settings: ForeignChannelSettings
    part: ClassVar[Callable[..., Any]]

    def __init__(self, settings: ForeignChannelSettings) -> None:
        super().__init__(settings)
        with seeding.own_globals(0, "channel"):
            made = construct(self.part, keywords(settings, ForeignChannelSettings), nn.Module)
        self.module = made.requires_grad_(False)

    def distort(self, x: Tensor, state: ChannelState) -> Tensor:
        """Call the part; shape (batch, numbers) in and out.

        Raises
        ------
        ScenarioError
            If it gives out another shape or type.
        """
        stream = int(torch.randint(2**62, (), generator=state.generator, device=x.device))
        received = self._call(x, stream)
        deviation = 0.0 if self.settings.told else self.deviation(received, state)
        silent = isinstance(deviation, float) and not deviation
        noise = torch.zeros((), device=x.device) if silent else deviation * gaussian(received, state)
        if state.meter is not None:
            with torch.no_grad():
                signal = self._odd_part(x, received, stream)
                if signal is not None:
                    state.meter.note_received(signal, received - signal + noise)
        return received if silent else received + noise

    def _odd_part(self, x: Tensor, received: Tensor, stream: int) -> Tensor | None:
        try:
            return (received - self._call(-x, stream)) / 2
        except Exception:  # whatever it has against negative numbers
            return None

    def _call(self, x: Tensor, stream: int) -> Tensor:
        paired = self.settings.reals_per_symbol == 2
        symbols = torch.view_as_complex(x.reshape(len(x), -1, 2)) if paired else x
        with seeding.own_globals(stream, "channel"):
            made = self.module(symbols)
        right = isinstance(made, Tensor) and made.shape == symbols.shape and made.is_complex() == paired
        if not right or not (paired or made.is_floating_point()):
            kind = f"{tuple(made.shape)} of {made.dtype}" if isinstance(made, Tensor) else f"a {type(made).__name__}"
            raise ScenarioError(
                f"channel {name_of(self.part)} makes {kind} of {tuple(symbols.shape)} of {symbols.dtype}: set "
                "channel.symbols, or wrap it in a class that keeps shape and type"
            )
        return torch.view_as_real(made).flatten(1) if paired else made


def adapt(part: Any) -> Any:
    """Return a channel plugin of a module's class or of a factory; anything else, such as a plugin, as it is.

    Raises
    ------
    ScenarioError
        If it has an argument that no scenario can give, or is a function that does not say what it makes.
    """
    return _adapted(part) if is_foreign(part, nn.Module, "Settings") else part


@lru_cache(maxsize=256)
def _adapted(part: Any) -> type[ForeignChannel]:
    return adapted(part, ForeignChannel, ForeignChannelSettings)
