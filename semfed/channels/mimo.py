"""A static MIMO channel: K uses of the same N_R x N_T matrix per message."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from semfed.channels.base import MOST_USES, Channel, ChannelSettings, ChannelState
from semfed.channels.power import Normalisation
from semfed.scenario import Scenario
from semfed.scenario.settings import Decibel, only_when

MOST_ANTENNAS = 4096


def draw_response(receive: int, transmit: int, generator: torch.Generator) -> Tensor:
    """Draw a channel matrix.

    Returns
    -------
    Tensor, shape (receive, transmit), complex128
        Independent entries h ~ CN(0, 1), so E|h|^2 = 1.
    """
    parts = torch.randn((2, receive, transmit), generator=generator, dtype=torch.float64, device=generator.device)
    return torch.complex(parts[0], parts[1]) / math.sqrt(2)


class MIMO(Channel):
    """y = H x + n for every channel use, with N_T complex symbols in x and N_R in y.

    Numbers are packed as pairs of neighbouring reals, N_T pairs a use. With unit power per transmitted symbol the
    noise variance is ``10 ** (-snr_db / 10)`` per received complex symbol, half of it per real dimension. A
    received symbol is a sum over N_T antennas, so on average over H its SNR is 10 log10(N_T) dB above `snr_db`. The
    matrix is the one given to `fix`; without one, every call draws its own from the state's generator.
    """

    class Settings(ChannelSettings):
        """Antennas; `uses` is the paper's K."""

        power: Normalisation = "none"
        symbols: Literal["complex"] = "complex"
        uses: int = Field(default=1, ge=1, le=MOST_USES)
        snr_db: Annotated[Decibel, only_when(user_snr_db=None)] = 10.0
        transmit_antennas: int = Field(default=4, ge=1, le=MOST_ANTENNAS)
        """Of the access point."""
        receive_antennas: int = Field(default=4, ge=1, le=MOST_ANTENNAS)
        """Of every user."""
        user_snr_db: tuple[Decibel, ...] | None = None
        """One SNR a user, in their order, instead of `snr_db` for all."""

        def check(self, scenario: Scenario) -> None:
            """Refuse SNRs of users where there are more or fewer users, or where all have one channel."""
            if self.user_snr_db is None:
                return
            if len(self.user_snr_db) != len(scenario.clients):
                raise ValueError(
                    f"channel.user_snr_db has {len(self.user_snr_db)} values for {len(scenario.clients)} users; "
                    "give one each"
                )
            if not getattr(scenario.learner.load(), "channel_a_user", False):
                raise ValueError(
                    f"channel.user_snr_db: learner {scenario.learner.name!r} has one channel for all; set snr_db"
                )

        @property
        def width(self) -> int:
            """Real numbers that are sent per message: two for each of N_T K complex symbols."""
            return 2 * self.transmit_antennas * self.uses

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.response: Tensor | None = None

    def fix(self, response: Tensor) -> "MIMO":
        """Keep to one channel matrix, shape (N_R, N_T), complex; returns the channel itself."""
        self.response = response
        return self

    def count_uses(self, x: Tensor) -> int:
        """Channel uses that it takes to send `x`: one for every N_T complex symbols.

        Raises
        ------
        ValueError
            If the numbers do not fill all antennas in every use.
        """
        per_use = 2 * self.settings.transmit_antennas
        if x.shape[-1] % per_use:
            raise ValueError(f"{x.shape[-1]} real numbers do not fill uses of {per_use}: send a multiple of that")
        return x.numel() // per_use

    def distort(self, x: Tensor, state: ChannelState) -> Tensor:
        """Mix and add noise: shape (batch, 2 N_T uses) in, (batch, 2 N_R uses) out."""
        receive, transmit = self.settings.receive_antennas, self.settings.transmit_antennas
        response = self.response if self.response is not None else draw_response(receive, transmit, state.generator)
        symbols = torch.view_as_complex(x.reshape(len(x), -1, transmit, 2))
        mixed = torch.view_as_real(symbols @ response.to(symbols).mT)
        return self.add_noise(mixed, state).flatten(1)


def block_diagonal(response: Tensor, uses: int) -> Tensor:
    """Return I_K (x) H for K uses of one matrix: shape (K N_R, K N_T)."""
    return torch.kron(torch.eye(uses, dtype=response.dtype), response)
