"""The client of FedAvg and of local-only training: encoder and decoder learn together, the channel in between."""

from typing import Any

import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from semfed import weights
from semfed.channels import ChannelState
from semfed.flower.client import Arrays
from semfed.optimizers import make_optimizer

from .personal import PersonalClient


class JointClient(PersonalClient):
    """Trains the whole chain.

    With the parameters of an average it starts from them, with a fresh optimiser, and returns its own. Without any
    it goes on from its own last weights and optimiser, which it keeps to itself: local-only training.
    """

    def shared(self) -> Arrays:
        """Return the initial encoder and decoder, buffers included, named ``encoder.<...>`` and ``decoder.<...>``."""
        chain = nn.ModuleDict({"encoder": self.build_encoder(), "decoder": self.build_decoder()})
        return weights.of(chain)

    def fit(
        self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]
    ) -> tuple[list[npt.NDArray[Any]], int, dict[str, Any]]:
        """Train for one round on the same minibatches and through the same noise as a split client.

        Parameters
        ----------
        parameters : list of ndarray
            An average's encoder and decoder, or nothing.
        config : dict
            ``server-round``: int.

        Returns
        -------
        parameters : list of ndarray
            Encoder and decoder, or nothing.
        num_examples : int
        metrics : dict
            ``train_loss`` in nats, ``channel-uses`` of the features (gradients stay inside the client).
        """
        round_ = int(config["server-round"])
        chain = self._load(parameters)
        chain.train()
        trained = list(chain.parameters())
        optimizer = make_optimizer(self.session.scenario.training, trained)
        kept = None if parameters else self.session.load("training")
        if kept is not None:
            optimizer.load_state(weights.unpack(kept["optimizer"], optimizer.state()))
        uses, samples, total = 0, 0, 0.0
        for step, batch in enumerate(self.minibatches(round_)):
            state = self.uplink(round_, step)
            loss = self._loss(chain, batch, state)
            optimizer.step(torch.autograd.grad(loss, trained))
            uses, samples, total = uses + state.uses, samples + len(batch), total + float(loss.detach()) * len(batch)
        metrics = {"train_loss": total / samples, "channel-uses": uses}
        if parameters:
            return list(weights.of(chain).values()), len(self.train_rows), metrics
        kept = {"chain": weights.pack(chain.state_dict()), "optimizer": weights.pack(optimizer.state())}
        self.session.save("training", kept)
        return [], len(self.train_rows), metrics

    def evaluate(self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        """Test an average, or what the client keeps; see `PersonalClient.test`, and `fit` for the arguments."""
        chain = self._load(parameters)
        return self.test(chain["encoder"], chain["decoder"], int(config["server-round"]))

    def _loss(self, chain: nn.ModuleDict, batch: torch.Tensor, state: ChannelState) -> torch.Tensor:
        images = self.session.images(self.train_rows[batch])
        received = self.transmit(chain["encoder"], images, state, self.channel)
        return cross_entropy(chain["decoder"](received), self.train_labels[batch])

    def _load(self, parameters: list[npt.NDArray[Any]]) -> nn.ModuleDict:
        chain = nn.ModuleDict({"encoder": self.resident("encoder"), "decoder": self.resident("decoder")})
        kept = self.session.load("training")
        if parameters:
            weights.restore(chain, dict(zip(chain.state_dict(), parameters, strict=True)))
        elif kept is not None:
            chain.load_state_dict(weights.unpack(kept["chain"], chain.state_dict()))
        else:
            weights.restore(chain, self.shared())
        return chain
