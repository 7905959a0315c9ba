"""Clients of one architecture trained side by side: weights stacked, one set of operations for all of them.

A small network does not fill a GPU, but many of them together do. Clients stay apart: the gradient of the sum of
their losses holds every client's own gradient, SGD and Adam work element by element, and norms to clip by are taken
client by client. So the numbers are those of
`semfed.training.step.AutogradStep`, one client after the other, up to float rounding.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from semfed.models.layers.dropout import Dropout
from semfed.scenario import TrainingSettings
from semfed.training.end_to_end import EndToEnd
from semfed.training.objective import Networks, Objective, Send
from semfed.training.optimizers import make_optimizer

PARTS = ("encoder", "decoder")


class Cohort:
    """Copies of an encoder and a decoder, one a client, under the loss of `EndToEnd`.

    Parameters
    ----------
    settings : TrainingSettings
    nets : Networks
        Lend their architecture; their own weights do not matter and do not change.
    states : sequence of list of ndarray
        Every client's weights and buffers, as in `Networks.state`.
    mu : float, default 0
        Weight of the proximal term, which holds every client to its `states`.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        nets: Networks,
        states: Sequence[Sequence[npt.NDArray[Any]]],
        mu: float = 0.0,
    ) -> None:
        self.networks = nets
        trained = {f"{name}.{key}" for name in PARTS for key, _ in getattr(nets, name).named_parameters()}
        self._stacked: dict[str, Tensor] = {}
        for (name, like), arrays in zip(nets.state.items(), zip(*states, strict=True), strict=True):
            tensor = torch.from_numpy(np.stack(arrays)).to(like.device)
            self._stacked[name] = nn.Parameter(tensor) if name in trained else tensor
        self._leaves = [tensor for tensor in self._stacked.values() if isinstance(tensor, nn.Parameter)]
        self._optimizer = make_optimizer(settings, self._leaves, mu=mu, shared=self._leaves, stacked=True)

    @staticmethod
    def trains(objective: Objective, nets: Networks, settings: TrainingSettings) -> bool:
        """Whether clients with this objective can be trained side by side.

        It has to be of type `EndToEnd` and to share all it trains; no layer may draw random numbers of its own, no
        network may be told the SNR, which every client has drawn for itself, and no moments may be kept from round to
        round.
        """
        keeps = settings.optimizer_state == "kept" and not settings.plain_sgd
        own = type(objective).loss is EndToEnd.loss and not (nets.private or keeps or nets.hearing)
        return own and not any(isinstance(m, Dropout | nn.Dropout) for network in nets for m in network.modules())

    def step(self, inputs: Tensor, labels: Tensor, sends: Sequence[Send]) -> Tensor:
        """Take one step for every client.

        Parameters
        ----------
        inputs : Tensor, shape (clients, batch, ...)
        labels : Tensor, shape (clients, batch), int64
        sends : sequence of callable
            Every client's channel.

        Returns
        -------
        Tensor, shape (clients,)
            Mean losses in nats before the step, detached.
        """
        encoded = self._apply("encoder", inputs)
        received = torch.stack([send(symbols) for send, symbols in zip(sends, encoded, strict=True)])
        logits = self._apply("decoder", received)
        clients, batch = labels.shape
        each = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(clients, batch).mean(1)
        self._optimizer.step(torch.autograd.grad(each.sum(), self._leaves))
        return each.detach()

    def states(self) -> list[list[npt.NDArray[Any]]]:
        """Return every client's weights and buffers, as they were given."""
        arrays = [tensor.detach().cpu().numpy() for tensor in self._stacked.values()]
        return [[array[k] for array in arrays] for k in range(len(arrays[0]))]

    def _apply(self, part: str, x: Tensor) -> Tensor:
        prefix, network = f"{part}.", getattr(self.networks, part)
        own = {name.removeprefix(prefix): t for name, t in self._stacked.items() if name.startswith(prefix)}

        def call(state: dict[str, Tensor], one: Tensor) -> Tensor:
            out: Tensor = functional_call(network, state, (one,))
            return out

        out: Tensor = torch.vmap(call)(own, x)
        return out
