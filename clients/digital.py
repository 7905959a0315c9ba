"""A digital transmitter: JPEG, then a channel code that knows nothing of images; nothing is trained.

It is the baseline of learned transmission at the same channel uses and the same noise, as in Bourtsoulatze, Kurka and
Gündüz (IEEE Transactions on Cognitive Communications and Networking, 2019). ``capacity`` bounds every code: JPEG gets
the bits that the channel could carry at most. ``ldpc`` sends it by one fixed code and modulation, which has a cliff:
below some SNR nothing arrives, and above it nothing gets better.
"""

import math
from typing import Annotated, Any, ClassVar, Literal

import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from semfed.algorithms import fidelity
from semfed.algorithms.digital import capacity, jpeg, ldpc, qam
from semfed.channels import Channel, ChannelState, Meter
from semfed.channels.awgn import AWGN
from semfed.channels.fading import Fading
from semfed.errors import DataError
from semfed.events.metrics import Metric
from semfed.scenario import Scenario
from semfed.scenario.settings import only_when
from semfed.training.objective import Build, Networks

from .reconstruction import AGAINST, ReconstructionClient

SMALLEST_NOISE = 1e-6
"""Noise variance that stands for none at all, which has no likelihood ratios."""
TOGETHER = 1_000
"""Images that are processed at once."""
EXACT_DB = 10 * math.log10(12 * 255**2)
"""PSNR of an image without an error, 58.92 dB instead of infinity: that of rounding to whole levels, 1/12 each. An
image that was a JPEG before comes out of its own quality unchanged."""
HOPELESS = 2
"""How many times capacity a frame may hold before it is counted as lost without an attempt to decode it."""
ARRIVED = "images that arrived"


class DigitalClient(ReconstructionClient):
    """Sends test images as JPEG; one that does not arrive is shown in the mean colour of the data set.

    Settings and metrics are those of ``reconstruction``, with ``arrived``, the share of images that do. Every image has
    ``channel.uses``, whether it needs them or not. Through fading, ``capacity`` gives every image the bits of the
    coefficients that it meets, as if both sides knew them; ``ldpc`` is for noise alone.
    """

    class Settings(ReconstructionClient.Settings):
        """The code, and on what it is tested."""

        code: Literal["capacity", "ldpc"] = "capacity"
        """JPEG at the rate that capacity allows, or sent by an LDPC code of 5G with QAM (extra ``digital``)."""
        modulation: Annotated[qam.Order, only_when(code="ldpc")] = 16
        """Symbols of the square QAM: 4, 16 or 64."""
        rate: Annotated[float, only_when(code="ldpc")] = Field(default=0.5, ge=0.2, le=0.92)
        """Information bits a coded bit, 24 bits of every image for its checksum included."""
        header: jpeg.HeaderRule = "known"
        """Whether JPEG's tables are ``known`` to the receiver, so that the quality alone is sent, or ``counted``."""

        def check(self, scenario: Scenario) -> None:
            """Refuse channels of which nobody can say what they carry."""
            super().check(scenario)
            channel, chosen = scenario.channel, f"learner.code = {self.code!r}"
            kinds, names = ((AWGN,), "awgn") if self.code == "ldpc" else ((AWGN, Fading), "awgn or one with fading")
            if not issubclass(channel.load(), kinds):
                raise ValueError(f"{chosen} needs channel {names}, and {channel.name!r} is none")
            if self.code == "ldpc":
                if channel.settings.symbols != "complex":
                    raise ValueError(f"{chosen} sends complex symbols: set channel.symbols = 'complex'")
                ldpc.require_size(*self.frame(channel.settings.uses))

        def frame(self, uses: int) -> tuple[int, int]:
            """Return the information bits, the checksum's included, and the coded bits of so many uses."""
            coded = uses * qam.bits_per_symbol(self.modulation)
            return round(self.rate * coded), coded

    metrics = (  # type: ignore[assignment]  # beside those of the base, which are as many as they are
        Metric("arrived", better="higher", fraction=True, role="detail", text=ARRIVED),
        Metric("arrived-at-{}dB", better="higher", fraction=True, role="detail", text=ARRIVED, against=AGAINST),
    )
    sends_encoded: ClassVar[bool] = False
    validates: ClassVar[bool] = False
    settings: Settings

    def networks(self, build: Build) -> Networks:
        """Return none: there is nothing to learn."""
        return Networks({})

    def get_properties(self, config: dict[str, Any]) -> dict[str, Any]:
        """Tell what a client of ``reconstruction`` does.

        Raises
        ------
        DataError
            If JPEG cannot hold the images.
        ScenarioError
            If Sionna is needed and not installed.
        """
        channels = self.session.dataset.shape[0]
        if channels not in (1, 3):
            raise DataError(f"learner 'digital' sends JPEG of 1 or 3 channels, and images have {channels}: take others")
        if self.settings.code == "ldpc":
            ldpc.sionna()
        return super().get_properties(config)

    def fit(
        self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]
    ) -> tuple[list[npt.NDArray[Any]], int, dict[str, Any]]:
        """Train nothing and send nothing."""
        return [], len(self.samples[0]), {"channel-uses": 0}

    @torch.no_grad()
    def test(self, nets: Networks, round_: int) -> tuple[float, int, dict[str, Any]]:
        """Send the test images; results are called as those of ``reconstruction``.

        Those that do not arrive count, in the mean colour, and so do their channel uses. One that comes out exact has a
        PSNR of `EXACT_DB`.
        """
        state = ChannelState(self.session.generator("evaluation", round_), Meter())
        found = self._send(self._channel(), state)
        further = self._at_other_snrs(round_, self._send) if self._tests_further(round_) else {}
        return found["mse"], len(self._images), found | further | state.metrics()

    # -- one transmission of all images -----------------------------------------------------------------------

    @property
    def _images(self) -> Tensor:
        """Those that are tested, uint8."""
        return self.session.dataset.test.images[self.test_samples[0]]

    @property
    def _uses(self) -> int:
        """Channel uses of an image, which `Settings.check` insists on."""
        return int(self.channel.settings.uses or 0)

    @property
    def _measured(self) -> Tensor:
        """Bits of every image at every quality; see `semfed.algorithms.digital.jpeg.sizes`."""
        header, device = self.settings.header, self.session.device
        key = ("JPEG sizes", header, self.settings.test_images, device)
        return self.session.cache.once(key, lambda: jpeg.sizes(self._images, header).to(device))

    def _channel(self, **values: Any) -> Channel:
        """Make the channel for symbols of unit power on average, none of which is scaled for an image of its own."""
        return super()._channel(power="none", **values)

    def _send(self, channel: Channel, state: ChannelState) -> dict[str, float]:
        """Send the images and compare what is shown with what was meant."""
        if self.settings.code == "ldpc":
            scores, arrived = self._by_ldpc(channel, state)
        else:
            qualities = jpeg.best_quality(self._measured, self._budget(channel, state))
            scores, arrived = self._scores(qualities), qualities > 0
        return {name: float(each.double().mean()) for name, each in (*scores.items(), ("arrived", arrived))}

    def _budget(self, channel: Channel, state: ChannelState) -> Tensor:
        """Return the bits that the transmission of each image can carry."""
        settings, count, uses = channel.settings, len(self.test_samples[0]), self._uses
        state.uses += uses * count
        gains = torch.ones(count, 1, device=self.session.device)
        if isinstance(channel, Fading):
            blocks = uses if channel.settings.fading == "symbol" else 1
            gains = channel.coefficients((count, blocks, 1), gains, state).square().sum(0)[..., 0]
        return capacity.faded_bits(gains, uses, settings.snr_db, settings.symbols)

    def _by_ldpc(self, channel: Channel, state: ChannelState) -> tuple[dict[str, Tensor], Tensor]:
        """Send a frame an image: of uniform bits, which is what a scrambler makes of any others."""
        (information, coded), order = self.settings.frame(self._uses), self.settings.modulation
        cache, device = self.session.cache, self.session.device
        key = ("LDPC", information, coded, order, device)
        code = cache.once(key, lambda: ldpc.Code(information, coded, order, device))
        noise_variance = max(channel.settings.noise_std**2 * 2, SMALLEST_NOISE)
        hopeless = information >= HOPELESS * capacity.bits(self._uses, channel.settings.snr_db)
        right = []
        for part in torch.split(self.test_samples[0], TOGETHER):
            bits = torch.randint(2, (len(part), information), generator=state.generator, device=device).bool()
            received = channel(qam.modulate(code.encode(bits), order), state)
            logits = qam.logits(received, order, noise_variance)
            right.append(torch.zeros_like(part, dtype=torch.bool) if hopeless else code.arrived(bits, logits))

        def of_images() -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
            budget = torch.tensor(float(information - ldpc.CHECKSUM_BITS), device=device)
            qualities = jpeg.best_quality(self._measured, budget)
            return qualities, self._scores(qualities), self._scores(torch.zeros_like(qualities))

        kept = ("JPEG scores", information, self.settings.header, self.settings.test_images, device)
        qualities, shown, lost = cache.once(kept, of_images)
        arrived = torch.cat(right) & (qualities > 0)
        return {name: torch.where(arrived, shown[name], lost[name]) for name in shown}, arrived

    def _scores(self, qualities: Tensor) -> dict[str, Tensor]:
        """Return the fidelity of every image that is sent in a quality, or not at all: shape (images,) each."""
        dataset = self.session.dataset
        lost = jpeg.colour(dataset.mean, dataset.shape[0])
        scores = {"psnr": fidelity.psnr, "ssim": fidelity.ssim, "mse": fidelity.mse}
        if min(dataset.shape[1:]) < fidelity.SSIM_WINDOW:
            del scores["ssim"]
        found: dict[str, list[Tensor]] = {name: [] for name in scores}
        for images, own in zip(torch.split(self._images, TOGETHER), torch.split(qualities, TOGETHER), strict=True):
            shown = jpeg.compressed(images, own, lost)
            for name, score in scores.items():
                found[name].append(score(shown / 255, images / 255).clamp(max=EXACT_DB))
        return {name: torch.cat(each) for name, each in found.items()}
