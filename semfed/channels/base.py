"""The contract of all channels.

Conventions
-----------
A channel use carries one symbol: a real number, or a complex number packed as two reals. With ``power = "sample"``
or ``"batch"`` the average power is 1 per symbol, so 1 per real number or 1/2 per real of a complex pair. The noise
variance is ``10 ** (-snr_db / 10)`` per symbol: all of it on a real symbol, half of it on each real dimension of a
complex one. With ``power = "none"`` the SNR refers to a signal of unit power, so it fixes the noise, whatever the
encoder sends. What is really sent and received is measured where the state of a transmission has a `Meter`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from semfed.channels.meter import Meter
from semfed.channels.power import Normalisation, normalise
from semfed.events.spans import span
from semfed.scenario.settings import Decibel, StrictModel

NO_EFFECT = (
    "call add_noise(), or fix it in Settings by "
    "snr_db: float = Field(default=math.inf, ge=math.inf, allow_inf_nan=True)"
)
"""What to do about a channel that is the same at every SNR."""
MOST_USES = 1_000_000
"""Channel uses per sample that a scenario may ask for; the layers around them could not be stored long before."""


class ChannelSettings(StrictModel):
    """What every channel can be told."""

    snr_db: Decibel = Field(default=10.0, title="SNR (dB)")
    """Signal-to-noise ratio in dB; ``inf`` for no noise."""
    power: Normalisation = "sample"
    """Scale every sample or the whole batch to unit average power, or send the encoder's output as it is."""
    symbols: Literal["real", "complex"] = "real"
    """Whether a channel use carries one real number or a pair of them."""
    uses: int | None = Field(default=None, ge=1, le=MOST_USES, title="channel uses per sample")
    """Channel uses per sample: it decides the encoder's width where the model leaves that open."""
    snr_spread_db: float = Field(default=0.0, ge=0, le=200)
    """While clients train, every sample has an SNR of its own, uniform from this much below `snr_db` to this much above
    it; tests are at `snr_db`. Networks are told the SNR where ``model.snr_input`` says so."""

    def idle(self, scenario: Any, here: str) -> Iterator[tuple[str, str]]:
        """Tell what has no effect; see `semfed.scenario.effects`."""
        if self.snr_db == math.inf:
            yield f"{here}.snr_spread_db", "channel.snr_db = inf has no noise"
        if here != "channel" or not getattr(scenario.learner.load(), "sends_encoded", False):
            yield f"{here}.snr_spread_db", "only what encoders send while they train has an SNR of every sample"

    @property
    def reals_per_symbol(self) -> int:
        """1 for real symbols, 2 for complex ones."""
        return 1 if self.symbols == "real" else 2

    @property
    def width(self) -> int | None:
        """Real numbers that the encoder gives out per sample, None if the model decides."""
        return None if self.uses is None else self.uses * self.reals_per_symbol

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise per real number, for unit power per symbol."""
        return float(10.0 ** (-self.snr_db / 20.0) / math.sqrt(self.reals_per_symbol))


class ChannelState:
    """What changes from one transmission to the next.

    Parameters
    ----------
    generator : torch.Generator or callable
        Source of noise and fading, on the device of the signal; a callable makes it when it is needed first.
    meter : Meter, optional
        Measures power and noise, as is done in evaluation; several states may share one. Nothing is measured without.
    trains : bool, default False
        Whether networks learn from what is sent, so that `ChannelSettings.snr_spread_db` has its effect.

    Attributes
    ----------
    uses : int
        Channel uses so far: every transmission adds its own.
    offset_db : Tensor of shape (batch, 1), or None
        By how much every sample's SNR is above `ChannelSettings.snr_db`, where `Channel.draw_snr` has drawn it already.
    """

    def __init__(
        self,
        generator: torch.Generator | Callable[[], torch.Generator],
        meter: Meter | None = None,
        *,
        trains: bool = False,
    ) -> None:
        self._source = generator
        self.meter, self.trains = meter, trains
        self.uses = 0
        self.offset_db: Tensor | None = None

    @property
    def generator(self) -> torch.Generator:
        """Source of noise and fading."""
        if not isinstance(self._source, torch.Generator):
            self._source = self._source()
        return self._source

    def metrics(self) -> dict[str, float]:
        """Return what a client tells of its transmissions: ``channel-uses``, and what `Meter.metrics` says."""
        return {"channel-uses": self.uses, **(self.meter.metrics() if self.meter is not None else {})}


class Channel(nn.Module, ABC):
    """A differentiable channel.

    Parameters
    ----------
    settings : ChannelSettings
        Validated options; a channel plugin may extend them in its own ``Settings``.
    """

    Settings: type[ChannelSettings] = ChannelSettings

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "distort" in vars(cls):
            cls.distort = span("channel")(cls.distort)  # type: ignore[method-assign]

    def __init__(self, settings: ChannelSettings) -> None:
        super().__init__()
        self.settings = settings

    @property
    def additive(self) -> bool:
        """Whether it only adds what does not depend on the signal, so that gradients pass it unchanged."""
        return False

    def count_uses(self, x: Tensor) -> int:
        """Channel uses that it takes to send `x`.

        Raises
        ------
        ValueError
            If an odd number of reals is to be packed into complex symbols.
        """
        if x.shape[-1] % self.settings.reals_per_symbol:
            raise ValueError(f"{x.shape[-1]} real numbers cannot be packed into complex symbols: use an even number")
        return x.numel() // self.settings.reals_per_symbol

    def forward(self, x: Tensor, state: ChannelState) -> Tensor:
        """Send a batch.

        Parameters
        ----------
        x : Tensor, shape (batch, numbers), float
            What the encoder gives out.
        state : ChannelState
            Its generator is advanced and its channel uses are counted.

        Returns
        -------
        Tensor, shape (batch, numbers), float
            What the receiver gets.
        """
        return self.distort(self.transmit(x, state), state)

    @span("channel")
    def transmit(self, x: Tensor, state: ChannelState) -> Tensor:
        """Return what the antenna sends, count its channel uses and measure it; several receivers may `distort` it."""
        state.uses += self.count_uses(x)
        sent = normalise(x, self.settings.power, power=1 / self.settings.reals_per_symbol)
        if state.meter is not None:
            state.meter.note_sent(sent, sent.numel() // self.settings.reals_per_symbol)
        return sent

    @abstractmethod
    def distort(self, x: Tensor, state: ChannelState) -> Tensor:
        """Apply fading and noise to a batch of transmitted numbers; shapes as in `forward`.

        Noise comes from `add_noise`, which measures the received SNR; a channel that makes its own noise has none.
        """

    def deviation(self, like: Tensor, state: ChannelState) -> float | Tensor:
        """Return the standard deviation of the noise per real number: one for all, or drawn for every sample.

        Parameters
        ----------
        like : Tensor, shape (batch, ...), float
            What gets the noise.
        state : ChannelState

        Returns
        -------
        float, or Tensor of shape (batch, 1, ...)
        """
        spread, nominal = self.settings.snr_spread_db, self.settings.noise_std
        if not self._varies(state):
            return nominal
        if state.offset_db is not None:
            return nominal * 10.0 ** (-state.offset_db.reshape(-1, *(1 for _ in like.shape[1:])) / 20)
        shape = (len(like), *(1 for _ in like.shape[1:]))
        uniform = torch.rand(shape, generator=state.generator, dtype=like.dtype, device=like.device)
        return nominal * 10.0 ** ((2 * uniform - 1) * (spread / 20))

    def draw_snr(self, samples: int, like: Tensor, state: ChannelState) -> float | Tensor:
        """Fix the SNR of every sample before it is sent, so that networks can be told it.

        Whatever is sent with this state afterwards has these SNRs: one row a sample, in this order.

        Parameters
        ----------
        samples : int
        like : Tensor
            For dtype and device.
        state : ChannelState
            Its generator is advanced where every sample has an SNR of its own.

        Returns
        -------
        float, or Tensor of shape (samples, 1)
            In dB. With fading it is that of the mean power.
        """
        if not self._varies(state):
            return self.settings.snr_db
        uniform = torch.rand((samples, 1), generator=state.generator, dtype=like.dtype, device=like.device)
        state.offset_db = (2 * uniform - 1) * self.settings.snr_spread_db
        return self.settings.snr_db + state.offset_db

    def _varies(self, state: ChannelState) -> bool:
        return bool(self.settings.snr_spread_db and state.trains and self.settings.noise_std)

    def add_noise(self, signal: Tensor, state: ChannelState, deviation: float | Tensor | None = None) -> Tensor:
        """Add the noise of the settings to what arrives, and measure both; without noise nothing is drawn.

        Parameters
        ----------
        signal : Tensor, shape (batch, ...), float
            After fading, before any equalisation.
        state : ChannelState
        deviation : float or Tensor, optional
            From `Channel.deviation`, where a receiver has to know it; asked for here if left out.
        """
        if deviation is None:
            deviation = self.deviation(signal, state)
        silent = isinstance(deviation, float) and not deviation
        noise = None if silent else deviation * gaussian(signal, state)
        if state.meter is not None:
            state.meter.note_received(signal, noise)
        return signal if noise is None else signal + noise


def gaussian(like: Tensor, state: ChannelState) -> Tensor:
    """Draw standard normal numbers of the shape, dtype and device of a tensor from the state's generator."""
    return torch.randn(like.shape, generator=state.generator, dtype=like.dtype, device=like.device)
