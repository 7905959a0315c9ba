"""Networks of a scenario with the initial weights of a seed and a client."""

import torch
from torch import nn

from semfed import models
from semfed.errors import ScenarioError
from semfed.flower.client.session import Session


class SessionBuild:
    """Makes a client's networks; see `semfed.training.objective.Build`.

    Parameters
    ----------
    session : Session
    width : int or None
        Numbers that the channel carries for a sample, None if the encoder decides.
    """

    def __init__(self, session: Session, width: int | None) -> None:
        self._session, self._width = session, width
        self._encoder: nn.Module | None = None

    def encoder(self) -> nn.Module:
        """Make the client's encoder; its initial weights are the same at every client, scheme and cluster of a seed."""
        session = self._session
        shape, stream = session.dataset.shape, (session.trial.seed, "encoder", 0)
        encoder = models.build(session.encoder_choice, shape, outputs=self._width, stream=stream).to(session.device)
        self._encoder = encoder
        return encoder

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
            raise ScenarioError("the encoder decides how many numbers a decoder receives: make it first")
        with torch.no_grad():
            features = tuple(self._encoder(torch.zeros(1, *session.dataset.shape, device=session.device)).shape[1:])
        stream = (session.trial.seed, name, 0 if shared else session.client)
        choice = session.scenario.model.decoder
        return models.build(choice, features, outputs=outputs, stream=stream).to(session.device)
