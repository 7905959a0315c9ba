"""Networks of a scenario with the initial weights of a seed and a client."""

import math
from typing import Literal

import torch
from torch import nn

from semfed import models, seeding
from semfed.errors import ScenarioError
from semfed.flower.client.session import Session
from semfed.models.layers.snr import SNRAware


class SessionBuild:
    """Makes a client's networks; see `semfed.training.objective.Build`.

    Parameters
    ----------
    session : Session
    width : int or None
        Numbers that the channel carries for a sample, None if the encoder decides.

    Attributes
    ----------
    aware : int
        How many of the networks that were made can be told the SNR.
    """

    def __init__(self, session: Session, width: int | None) -> None:
        self._session, self._width = session, width
        self._encoder: nn.Module | None = None
        self.aware = 0

    def encoder(self) -> nn.Module:
        """Make the client's encoder; its initial weights are the same at every client, scheme and cluster of a seed."""
        session = self._session
        shape, stream = session.dataset.shape, (session.trial.seed, "encoder", 0)
        encoder = models.build(session.encoder_choice, shape, outputs=self._width, stream=stream).to(session.device)
        self._encoder = encoder
        return self._aware("encoder", encoder, stream)

    def decoder(self, outputs: int, *, shared: bool = False, name: str = "decoder") -> nn.Module:
        """Make a decoder of what the encoder gives out.

        Parameters
        ----------
        outputs : int
            Numbers that it decides by.
        shared : bool, default False
            Whether its initial weights are the same at every client.
        name : str
            Tells the random streams of several decoders apart.

        Raises
        ------
        ScenarioError
            If the encoder, which decides how many numbers are sent, has not been made before.
        """
        session = self._session
        if self._encoder is None:
            raise ScenarioError(
                f"learner {session.scenario.learner.name!r}: the encoder decides how many numbers a decoder receives: "
                "call build.encoder() before build.decoder()"
            )
        features = self._features()
        stream = (session.trial.seed, name, 0 if shared else session.client)
        choice = session.scenario.model.decoder
        return self._aware(
            "decoder", models.build(choice, features, outputs=outputs, stream=stream).to(session.device), stream
        )

    def _features(self) -> tuple[int, ...]:
        """Return the shape of what the encoder gives out for a sample."""
        session = self._session
        assert self._encoder is not None
        with torch.no_grad():
            return tuple(self._encoder(torch.zeros(1, *session.dataset.shape, device=session.device)).shape[1:])

    def _aware(
        self, part: Literal["encoder", "decoder"], network: nn.Module, stream: tuple[int, str, int]
    ) -> nn.Module:
        """Let a network hear the SNR where the scenario wants it; its own weights are the same as without."""
        if not self._session.scenario.model.hears(part):
            return network
        self.aware += 1
        seed, purpose, index = stream
        with seeding.initialisation(seed, f"{purpose}/snr", index):
            aware = SNRAware(network, math.prod(self._features()), part)
        return aware.to(self._session.device).eval()
