"""Clients that train side by side, where their objective allows it."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import torch

from semfed import training
from semfed.flower.client.base import BaseLearner
from semfed.flower.client.learner import Learner
from semfed.flower.protocol import proximal_mu
from semfed.training.fused.stacked import Cohort

Answer = tuple[list[npt.NDArray[Any]], int, dict[str, Any]]


def fit_together(
    learners: Sequence[BaseLearner], parameters: Sequence[list[npt.NDArray[Any]]], configs: Sequence[dict[str, Any]]
) -> list[Answer] | None:
    """Train clients of one trial as a `Cohort`.

    Parameters
    ----------
    learners : sequence of BaseLearner
        At least one.
    parameters, configs : sequence
        What every client's ``fit`` would have got.

    Returns
    -------
    list or None
        What ``fit`` would have returned for every client; None if they cannot train together: when their objective is
        of another kind, see `Cohort.trains`, when they go on from their own weights, or have different networks,
        minibatches, rounds or proximal terms.
    """
    clients = [learner for learner in learners if isinstance(learner, Learner)]
    if len(clients) < len(learners) or not all(map(bool, parameters)):
        return None
    first, nets = clients[0], clients[0].resident()
    mus, rounds = ({proximal_mu(c) for c in configs}, [int(c["server-round"]) for c in configs])
    settings = first.session.training(rounds[0])
    sizes = first.sizes(rounds[0])
    if (
        not Cohort.trains(first, nets, settings)
        or len(mus) > 1
        or len(set(rounds)) > 1
        or any(client.resident() is not nets for client in clients)
        or any(client.sizes(round_) != sizes for client, round_ in zip(clients, rounds, strict=True))
    ):
        return None
    cohort = Cohort(settings, nets, parameters, mus.pop())
    losses, uses = [], [0] * len(clients)
    with training.learning(*nets):
        steps = (client.steps(nets, round_) for client, round_ in zip(clients, rounds, strict=True))
        for taken in zip(*steps, strict=True):
            batches, states = zip(*taken, strict=True)
            images, labels = (torch.stack(column) for column in zip(*batches, strict=True))
            sends = [client.link(state) for client, state in zip(clients, states, strict=True)]
            losses.append(cohort.step(images, labels, sends))
            uses = [used + state.uses for used, state in zip(uses, states, strict=True)]
    each = torch.stack(losses, dim=1)
    weighted = each.double() @ torch.tensor(sizes, dtype=torch.float64, device=each.device)
    means = (weighted / sum(sizes)).tolist()
    return [
        (state, len(client.samples[0]), {client.loss_name: mean, "channel-uses": used})
        for client, state, mean, used in zip(clients, cohort.states(), means, uses, strict=True)
    ]
