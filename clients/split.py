"""The client of FedCL and FedProto: its encoder never leaves it; features go up and their gradients come down.

Source: arXiv 2406.09182, eqs. (1), (2) and (6).

A round is one message ``train.forward`` and then one ``train.backward`` a minibatch: each takes the gradient of the
features sent last and answers with the features of the next minibatch. What survives between messages is the state
after a step, so ``backward`` computes the transmission once more, from the same weights, images, noise and fading. A
process that still has the graph of that very transmission spares itself the work; the numbers are the same bit for bit.
"""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from semfed.checkpoint.files import Arrays
from semfed.errors import FederationError
from semfed.flower.client.recent import Recent
from semfed.models.layers.dropout import draws
from semfed.training import weights
from semfed.training.objective import Networks
from semfed.training.optimizers import Optimizer, make_optimizer

from .personal import PersonalClient

Answer = tuple[Arrays, int, dict[str, Any]]

UNDERWAY = 16
"""Of how many clients a process keeps the graph between two messages."""


@dataclass(frozen=True)
class Underway:
    """A transmission whose gradient is awaited.

    `saved` is the record of the client's state that was written with it: the graph is good for that state only.
    """

    saved: object
    encoder: nn.Module
    optimizer: Optimizer
    received: Tensor


class SplitClient(PersonalClient):
    """Trains a personal encoder with gradients from the server; see the module's text for the exchange."""

    config_keys: ClassVar = {"backward": frozenset({"minibatch"})}

    def shared(self) -> Arrays:
        """Nothing: decoders and everything else that is shared belong to the strategy."""
        return {}

    def forward(self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]) -> Answer:
        """Send the features of the round's first minibatch.

        Parameters
        ----------
        parameters : list
            Empty.
        config : dict
            ``server-round``: int.

        Returns
        -------
        arrays : dict
            ``features``, shape (batch, features), float32, as the server receives them, and ``labels``, shape
            (batch,), int64; nothing once the round has no further minibatch.
        num_examples : int
        metrics : dict
            ``channel-uses`` of both directions and ``channel-uses-down``, the part of the gradients.
        """
        round_ = int(config["server-round"])
        encoder, optimizer = self._learner(round_, 0)
        return self._send(encoder, optimizer, round_, 0, downlink_uses=0)

    def backward(self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]) -> Answer:
        """Train on the minibatch sent last, then send the next one; result as in `forward`.

        Parameters
        ----------
        parameters : list of ndarray
            The gradient with respect to the received features, shape (batch, features), float32.
        config : dict
            ``server-round`` and ``minibatch``: int.

        Raises
        ------
        FederationError
            If this client is not waiting for that minibatch's gradient.
        """
        round_, step = int(config["server-round"]), int(config["minibatch"])
        self._require_pending(round_, step)
        gradient = torch.tensor(parameters[0], device=self.device)
        underway = self._underway.take(self.session.client)
        if underway is not None and underway.saved is self.session.context.state.get("pending"):
            encoder, optimizer, received = underway.encoder, underway.optimizer, underway.received
        else:
            encoder, optimizer = self._learner(round_, step)
            batch = torch.split(*self.minibatches(round_))[step]
            received, _ = self._transmit(encoder, batch, round_, step)
        optimizer.step(torch.autograd.grad(received, list(encoder.parameters()), gradient))
        kept = {"encoder": weights.pack(encoder.state_dict()), "optimizer": weights.pack(optimizer.state())}
        self.session.save("training", kept, copy=False)
        return self._send(encoder, optimizer, round_, step + 1, downlink_uses=self.channel.count_uses(gradient))

    def evaluate(self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        """Test the own encoder with the server's decoder; see `PersonalClient.test_pair`.

        Parameters
        ----------
        parameters : list of ndarray
            The decoder.
        config : dict
            ``server-round``: int.
        """
        nets = self.trained(parameters, config)
        return self.test_pair(nets.encoder, nets.decoder, int(config["server-round"]))

    def trained(self, parameters: list[npt.NDArray[Any]] | None, config: dict[str, Any]) -> Networks:
        """Return the own encoder and the server's decoder; arguments as in `evaluate`."""
        encoder, decoder = self.network("encoder"), self.network("decoder")
        if parameters is not None:
            self._load(encoder)
            weights.restore(decoder, dict(zip(decoder.state_dict(), parameters, strict=True)))
        return Networks({"decoder": decoder}, {"encoder": encoder})

    @property
    def _underway(self) -> Recent[Underway]:
        return self.session.cache.once("underway", lambda: Recent(UNDERWAY))

    def _send(self, encoder: nn.Module, optimizer: Optimizer, round_: int, step: int, *, downlink_uses: int) -> Answer:
        """Transmit a minibatch, note that its gradient is awaited, and keep the graph at hand."""
        self.session.save("pending", {"minibatch": np.array([round_, step])})
        uses, arrays = downlink_uses, Arrays()
        batches = torch.split(*self.minibatches(round_))
        if step < len(batches):
            received, sent = self._transmit(encoder, batches[step], round_, step)
            saved = self.session.context.state["pending"]
            self._underway.put(self.session.client, Underway(saved, encoder, optimizer, received))
            arrays = weights.to_arrays({"features": received, "labels": self.train_labels[batches[step]]})
            uses += sent
        return arrays, len(self.train_rows), {"channel-uses": uses, "channel-uses-down": downlink_uses}

    def _transmit(self, encoder: nn.Module, batch: Tensor, round_: int, step: int) -> tuple[Tensor, int]:
        """Return a minibatch's features as the server receives them, and the channel uses that it took."""
        if draws(encoder):
            self.draw_masks("encoder", encoder, round_, step)
        state = self.uplink(round_, step)
        return self.transmit(encoder, self.session.images(self.train_rows[batch]), state, self.channel), state.uses

    def _learner(self, round_: int, step: int) -> tuple[nn.Module, Optimizer]:
        """Return the client's encoder, a copy in training mode that nobody else borrows, and its optimiser.

        The optimiser goes on from the last step, which before the round's first one is of the round before.
        """
        encoder, kept = self._load(copy.deepcopy(self.network("encoder")))
        optimizer = make_optimizer(self.session.training(round_), encoder.parameters())
        if kept is not None and (step or self.session.scenario.training.optimizer_state == "kept"):
            optimizer.load_state(weights.unpack(kept["optimizer"], optimizer.state()))
        return encoder.train(), optimizer

    def _load(self, encoder: nn.Module) -> tuple[nn.Module, Arrays | None]:
        """Put the client's own weights into an encoder; return it and all that the client keeps."""
        kept = self.session.load("training")
        if kept is None:
            encoder.load_state_dict(self.build_encoder().state_dict())
        else:
            encoder.load_state_dict(weights.unpack(kept["encoder"], encoder.state_dict()))
        return encoder, kept

    def _require_pending(self, round_: int, step: int) -> None:
        saved = self.session.load("pending")
        pending = tuple(saved["minibatch"].tolist()) if saved else None
        if pending != (round_, step):
            awaited = f"that of round {pending[0]}, minibatch {pending[1]}" if pending else "none"
            raise FederationError(
                f"client {self.session.spec.name!r} got the gradient of round {round_}, minibatch {step}, but awaits "
                f"{awaited}: leave it out until the next round"
            )
