"""The client of FedAvg and of local-only training: encoder and decoder learn together, the channel in between."""

import operator
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import numpy.typing as npt
import torch
from torch import nn

from semfed import training
from semfed.errors import FederationError
from semfed.flower.arrays import Arrays
from semfed.flower.client.learner import PROXIMAL_MU, proximal_mu
from semfed.models.layers.dropout import draws
from semfed.training import weights
from semfed.training.end_to_end import Chain, make_chain
from semfed.training.fused.stacked import Cohort, stackable

from .personal import PersonalClient


class JointClient(PersonalClient):
    """Trains the whole chain.

    With the parameters of an average it starts from them and returns its own. Without any it goes on from its own last
    weights, which it keeps to itself: local-only training. Whether its optimiser goes on in either case is the
    scenario's ``training.optimizer_state``.
    """

    keeps_model = True
    config_keys: ClassVar = {"fit": frozenset({PROXIMAL_MU})}

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
            ``server-round``: int; ``proximal-mu``: float, optional, holds encoder and decoder back.

        Returns
        -------
        parameters : list of ndarray
            Encoder and decoder, or nothing.
        num_examples : int
        metrics : dict
            ``train_loss``, the cross-entropy in nats, ``channel-uses`` of the features (gradients stay inside the
            client).

        Raises
        ------
        FederationError
            If a proximal term is asked for and nothing came to stay close to.
        """
        round_, mu = int(config["server-round"]), proximal_mu(config)
        if mu and not parameters:
            raise FederationError(f"{PROXIMAL_MU!r} = {mu:g}, but no parameters came to stay close to: send an average")
        kept = self.session.load("training") or {}
        chain = self._load(parameters, kept)
        trained = self._chain(chain.encoder, chain.decoder, mu)
        keeps = self.session.scenario.training.optimizer_state == "kept"
        if keeps and "optimizer" in kept:
            trained.load_state(weights.unpack(kept["optimizer"], trained.state()))
        uses, sizes, losses = 0, [], []
        with training.learning(chain.encoder, chain.decoder):
            for step, (images, labels) in enumerate(self.batches(round_)):
                for part, network in chain.drawing.items():
                    self.draw_masks(part, network, round_, step)
                state = self.uplink(round_, step)
                losses.append(trained.step(images, labels, partial(self.send, state=state, channel=self.channel)))
                sizes.append(len(labels))
                uses += state.uses
        mean_loss = sum(map(operator.mul, torch.stack(losses).tolist(), sizes)) / sum(sizes)
        metrics = {"train_loss": mean_loss, "channel-uses": uses}
        states = {"chain": {} if parameters else chain.state, "optimizer": trained.state() if keeps else {}}
        packed = {name: weights.pack(state, into=kept.get(name)) for name, state in states.items() if state}
        if packed:
            self.session.save("training", packed, copy=False)
        return weights.views(chain.state) if parameters else [], len(self.train_rows), metrics

    @classmethod
    def fit_together(
        cls,
        clients: Sequence["JointClient"],
        parameters: Sequence[list[npt.NDArray[Any]]],
        configs: Sequence[dict[str, Any]],
    ) -> list[tuple[list[npt.NDArray[Any]], int, dict[str, Any]]] | None:
        """Train several clients side by side; see `semfed.training.fused.stacked.Cohort`.

        Returns
        -------
        list or None
            What `fit` would have returned for every client; None if they cannot train together: when they go on from
            their own weights or moments, have different architectures, minibatches or proximal terms, or layers with
            random numbers.
        """
        first = clients[0]
        parts = first.resident("encoder"), first.resident("decoder")
        alike = all((c.resident("encoder"), c.resident("decoder")) == parts for c in clients)
        if not all(map(bool, parameters)) or not alike or not all(map(stackable, parts)):
            return None
        settings, mus = first.session.scenario.training, {proximal_mu(config) for config in configs}
        if len(mus) > 1 or (settings.optimizer_state == "kept" and not settings.plain_sgd):
            return None
        rounds = [int(config["server-round"]) for config in configs]
        each = [client.minibatches(round_)[1] for client, round_ in zip(clients, rounds, strict=True)]
        sizes = each[0]
        if any(own != sizes for own in each):
            return None
        cohort = Cohort(settings, *parts, parameters, mus.pop())
        losses, uses = [], [0] * len(clients)
        batches = (client.batches(round_) for client, round_ in zip(clients, rounds, strict=True))
        with training.learning(*parts):
            for step, taken in enumerate(zip(*batches, strict=True)):
                inputs, wanted = (torch.stack(column) for column in zip(*taken, strict=True))
                states = [client.uplink(round_, step) for client, round_ in zip(clients, rounds, strict=True)]
                sends = [partial(c.send, state=s, channel=c.channel) for c, s in zip(clients, states, strict=True)]
                losses.append(cohort.step(inputs, wanted, sends))
                uses = [used + state.uses for used, state in zip(uses, states, strict=True)]
        weighted = torch.stack(losses, dim=1).double() @ torch.tensor(sizes, dtype=torch.float64, device=first.device)
        means = (weighted / sum(sizes)).tolist()
        return [
            (state, len(client.train_rows), {"train_loss": mean, "channel-uses": used})
            for client, state, mean, used in zip(clients, cohort.states(), means, uses, strict=True)
        ]

    def evaluate(self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        """Test an average, or what the client keeps; see `PersonalClient.test`, and `fit` for the arguments."""
        kept = None if parameters else self.session.load("training")
        chain = self._load(parameters, kept or {})
        return self.test(chain.encoder, chain.decoder, int(config["server-round"]))

    def _chain(self, encoder: nn.Module, decoder: nn.Module, mu: float) -> Chain:
        """Return what trains the networks, with a fresh optimiser; plain SGD has nothing to forget and is kept."""
        settings = self.session.scenario.training
        additive = self.channel.additive
        if mu or not settings.plain_sgd:
            return make_chain(settings, encoder, decoder, additive=additive, mu=mu)
        key = ("plain SGD", settings.lr, additive, encoder, decoder)
        return self.session.cache.once(key, lambda: make_chain(settings, encoder, decoder, additive=additive))

    def _load(self, parameters: list[npt.NDArray[Any]], kept: Arrays) -> "Resident":
        """Fill the resident networks with an average, with what the client keeps, or with the initial weights."""
        parts = self.resident("encoder"), self.resident("decoder")
        chain: Resident = self.session.cache.once(("chain", *parts), lambda: Resident(*parts))
        if not parameters and "chain" in kept:
            parameters = weights.views(weights.unpack(kept["chain"], chain.state))
        weights.fill(chain.state, parameters or self._initial(*parts))
        return chain

    def _initial(self, *parts: nn.Module) -> list[npt.NDArray[Any]]:
        """Return the weights of `shared`, which are made once for all clients of these architectures."""
        key = ("initial", self.session.trial.seed, *parts)
        return self.session.cache.once(key, lambda: list(self.shared().values()))


class Resident:
    """A resident encoder and decoder with what is asked of them every time.

    Attributes
    ----------
    state : dict of str to Tensor
        Weights and buffers, named ``encoder.<...>`` and ``decoder.<...>``; they share the networks' memory.
    drawing : dict of str to nn.Module
        Which of the two have dropout.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        self.encoder, self.decoder = encoder, decoder
        both = nn.ModuleDict({"encoder": encoder, "decoder": decoder})
        self.state: dict[str, torch.Tensor] = both.state_dict()
        self.drawing = {name: part for name, part in both.items() if draws(part)}
