"""Deep joint source-channel coding: pictures themselves are sent, and judged by how close they come out.

Source: "Deep Joint Source-Channel Coding for Wireless Image Transmission" (Bourtsoulatze, Kurka, Gündüz, IEEE
Transactions on Cognitive Communications and Networking, 2019), section III: encoder and decoder are trained end to end
through the channel for the mean square error. Several clients, who average both networks, are our extension.
"""

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import mse_loss

from semfed.algorithms import fidelity
from semfed.channels import Channel, ChannelState, Decibel
from semfed.data.dataset import unit_range
from semfed.errors import SemfedError
from semfed.events.metrics import Metric
from semfed.flower.client.learner import Learner
from semfed.flower.client.session import Session
from semfed.scenario import Scenario
from semfed.scenario.settings import StrictModel
from semfed.training.objective import Batch, Build, Networks, Score, Send, Total, add_up
from semfed.training.system import System

MEAN_IMAGE = "mean training image"
AGAINST = "test SNR (dB)"


class ReconstructionClient(Learner):
    """Trains encoder and decoder, both shared, to give the image back; no label is looked at.

    Metrics are means over the test images of what `semfed.algorithms.fidelity` gives for each, after the receiver has
    clipped pixels to what they can be. Images of less than 11 x 11 pixels have no SSIM, and none is reported of them.
    Without parameters it goes on from its own last networks: local-only training.
    """

    class Settings(StrictModel):
        """On what it is tested."""

        test_images: Annotated[int, Field(ge=1)] | None = None
        """So many of the test images, at equal distances from the first to the last; all if unset."""
        test_snr_db: tuple[Decibel, ...] = ()
        """Further SNRs at which the last round's networks are tested: ``psnr-at-<snr>dB`` and ``ssim-at-<snr>dB``."""

        def check(self, scenario: Scenario) -> None:
            """Refuse an open width, and tests of a round or at an SNR that there may not be."""
            if getattr(scenario.channel.settings, "width", None) is None:
                raise ValueError("channel.uses is unset, but it decides how much of an image is sent: set it")
            if self.test_snr_db and scenario.stop is not None:
                raise ValueError(
                    f"learner.test_snr_db = {list(self.test_snr_db)} is of round {scenario.rounds}, which stop may not "
                    "let an arm reach: leave it out, or leave stop out"
                )
            if self.test_snr_db and getattr(scenario.channel.settings, "snr_db", None) is None:
                raise ValueError(
                    f"learner.test_snr_db = {list(self.test_snr_db)}: channel {scenario.channel.name!r} has no SNR to "
                    "test at; leave it out"
                )

    task_kind = "reconstruction"
    keeps_model = True
    tells_labels = False
    evaluation_batch = 500
    metrics = (
        Metric("psnr", "dB", better="higher", text="PSNR", baseline=MEAN_IMAGE),
        Metric("ssim", better="higher", text="SSIM", baseline=MEAN_IMAGE),
        Metric("mse", better="lower", text="mean square error", baseline=MEAN_IMAGE),
        Metric("psnr-at-{}dB", "dB", better="higher", role="detail", text="PSNR", against=AGAINST),
        Metric("ssim-at-{}dB", better="higher", role="detail", text="SSIM", against=AGAINST),
    )

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.settings: ReconstructionClient.Settings = session.scenario.learner.settings

    def networks(self, build: Build) -> Networks:
        """Share encoder and decoder, which start from the same weights at every client."""
        pixels = math.prod(self.session.dataset.shape)
        return Networks({"encoder": build.encoder(), "decoder": build.decoder(pixels, shared=True)})

    def loss(self, nets: Networks, batch: Batch, send: Send) -> Tensor:
        """Return the mean square error of pixels from 0 to 1."""
        return mse_loss(self._decoded(nets, send(nets.encoder(batch.images))), self._pixels(batch.images))

    def score(self, nets: Networks, batch: Batch, send: Send) -> Mapping[str, Score]:
        """Return the loss and how close the images of one transmission come out."""
        sent, received = self._pixels(batch.images), self._decoded(nets, send(nets.encoder(batch.images)))
        return {"loss": _total(fidelity.mse(received, sent)), **_closeness(received, sent)}

    @torch.no_grad()
    def test(self, nets: Networks, round_: int) -> tuple[float, int, dict[str, Any]]:
        """Have the test images back through the noisy channel.

        Returns
        -------
        loss : float
            Mean square error.
        num_examples : int
        metrics : dict
            ``psnr`` in dB, ``ssim`` and ``mse``, and those of `ChannelState.metrics`; of the last round's test
            ``psnr-at-<snr>dB`` and ``ssim-at-<snr>dB``, too, for every SNR of ``test_snr_db``.
        """
        loss, count, told = super().test(nets, round_)
        if self._tests_further(round_):
            batches = list(self.test_batches())
            encoded = [nets.encoder(batch.images) for batch in batches]

            def send_again(channel: Channel, state: ChannelState) -> dict[str, float]:
                received = (self._decoded(nets, channel(symbols, state)) for symbols in encoded)
                each = zip(received, (self._pixels(batch.images) for batch in batches), strict=True)
                return {name: total.mean for name, total in add_up(_closeness(*pair) for pair in each).items()}

            told |= self._at_other_snrs(round_, send_again)
        return loss, count, told

    def targets(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return all images; their classes are of no use."""
        return torch.arange(len(labels), device=labels.device), labels

    @cached_property
    def test_samples(self) -> tuple[Tensor, Tensor]:
        """The test images that are tested, as rows of the test set, and their classes."""
        labels, wanted = self.session.dataset.test.labels, self.settings.test_images
        if wanted is None or wanted >= len(labels) or self.session.split == "validation":
            return self.targets(labels)
        rows = torch.arange(wanted, device=labels.device) * len(labels) // wanted
        return rows, labels[rows]

    def get_properties(self, config: dict[str, Any]) -> dict[str, Any]:
        """Tell ``num-examples``, and how close the mean of the client's training images is to the test images."""
        told = super().get_properties(config)
        mean = self._pixels(self.session.images(self.samples[0])).mean(0, keepdim=True)
        tested = (self._pixels(batch.images) for batch in self.test_batches())
        totals = add_up(_closeness(mean.expand_as(images), images) for images in tested)
        return told | {f"baseline/{name}": total.mean for name, total in totals.items()}

    def system(self, nets: Networks, config: dict[str, Any]) -> System:
        """Refuse: what comes out is an image."""
        raise SemfedError(
            f"learner {self.session.scenario.learner.name!r} gives images back and decides nothing about them: there "
            "is no link of it"
        )

    def _pixels(self, images: Tensor) -> Tensor:
        """Return standardised images as pixels from 0 to 1."""
        data, dataset = self.session.scenario.data, self.session.dataset
        return unit_range(images, data.mean or dataset.mean, data.std or dataset.std)

    def _decoded(self, nets: Networks, received: Tensor) -> Tensor:
        """Return what the decoder makes of what it receives, as pixels that may be beyond 0 and 1."""
        pixels: Tensor = nets.decoder(received)
        return pixels.view(len(received), *self.session.dataset.shape)

    def _channel(self, **values: Any) -> Channel:
        """Make the client's channel with some settings changed."""
        channel: Channel = self.session.channel_choice.amended(**values).make().to(self.session.device)
        return channel

    def _tests_further(self, round_: int) -> bool:
        """Whether a test is one at the SNRs of ``test_snr_db``, too."""
        last = round_ == self.session.scenario.rounds and self.session.split == "test"
        return last and bool(self.settings.test_snr_db)

    def _at_other_snrs(
        self, round_: int, send: Callable[[Channel, ChannelState], Mapping[str, float]]
    ) -> dict[str, float]:
        """Return what is told of transmissions at every further SNR, each with noise of its own; no `mse`."""
        told: dict[str, float] = {}
        for index, snr_db in enumerate(self.settings.test_snr_db):
            state = ChannelState(self.session.generator("evaluation/SNR", round_, index))
            found = send(self._channel(snr_db=snr_db), state)
            told |= {f"{name}-at-{snr_db:g}dB": value for name, value in found.items() if name != "mse"}
        return told


def _closeness(received: Tensor, sent: Tensor) -> dict[str, Score]:
    """Return ``psnr``, ``ssim`` where images are large enough for it, and ``mse`` of images from 0 to 1."""
    shown = received.clamp(0, 1)
    told: dict[str, Score] = {"psnr": _total(fidelity.psnr(shown, sent))}
    if min(sent.shape[-2:]) >= fidelity.SSIM_WINDOW:
        told["ssim"] = _total(fidelity.ssim(shown, sent))
    return told | {"mse": _total(fidelity.mse(shown, sent))}


def _total(each: Tensor) -> Total:
    return Total(float(each.sum()), len(each))
