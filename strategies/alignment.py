"""The access point of federated latent-space alignment.

Source: "Federated Latent Space Alignment for Multi-user Semantic Communications" (arXiv 2602.17271): ADMM on a shared
precoder, with block coordinate descent, one precoder a user, and links without alignment to compare with.
"""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from logging import WARNING
from typing import Any, Literal, cast

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.common import log
from flwr.serverapp import Grid
from pydantic import Field

from semfed.algorithms.alignment.data import LatentSettings
from semfed.algorithms.alignment.solver import Mode as Solver
from semfed.algorithms.alignment.solver import access_point_step
from semfed.algorithms.alignment.transmission import POWER
from semfed.algorithms.alignment.updates import Consensus
from semfed.algorithms.alignment.wire import from_wire, to_wire
from semfed.events.metrics import Metric
from semfed.flower import arrays as wire
from semfed.flower.server.federation import Federation
from semfed.flower.server.replies import Replies
from semfed.flower.server.strategy import Arrays, FederatedStrategy, StrategySettings
from semfed.flower.trial import Trial
from semfed.scenario import Scenario

Mode = Literal["admm", "bcd", "multi-link", "reference", "first-k", "top-k", "eigen-k", "own-latent", "unaligned"]
WITHOUT_TRAINING = ("first-k", "top-k", "eigen-k", "own-latent", "unaligned")
WITHOUT_PILOTS = ("own-latent", "unaligned")


class AlignmentStrategy(FederatedStrategy):
    """Send F, average the answers (A_k, D_k), solve for the next F; users are tested with the feasible copy Z.

    The mean over the users that answered is exact for them, so a user that misses a round leaves a valid step.

    Parameters
    ----------
    trial : Trial
    settings : AlignmentStrategy.Settings
    """

    metrics = (
        Metric("objective", better="lower", over_clients="none", role="convergence", text="J"),
        Metric("admm/primal-residual", over_clients="none", role="convergence", text="primal residual"),
        Metric("admm/dual-residual", over_clients="none", role="convergence", text="dual residual"),
        Metric("admm/rounds", over_clients="none", role="detail"),
        Metric("admm/converged", over_clients="none", role="detail"),
    )

    class Settings(StrategySettings):
        """How the precoder comes about."""

        mode: Mode = "admm"
        """``admm`` and ``bcd`` share one precoder; ``multi-link`` gives every user its own and all the power;
        ``reference`` does as the authors' code; the others do not align: they send features as they are, or, for
        comparison, nothing (``own-latent``) or everything without error (``unaligned``)."""
        rho: float = Field(default=1.0, gt=0)
        """Weight of ADMM's penalty."""
        tolerance: float = Field(default=1e-4, ge=0)
        """Absolute: the exchange stops once the primal residual is below this times sqrt(s m) plus
        `relative_tolerance` times the norm of the precoder, and the dual one below the same with the norm of rho times
        the dual. With both 0 it takes all `rounds`."""
        relative_tolerance: float = Field(default=1e-4, ge=0)
        """Relative to the norms that `tolerance` names."""
        evaluate_every: int = Field(default=1, ge=1)
        """Rounds from one test to the next; the last round always has one."""

        def idle(self, scenario: Scenario, here: str) -> Iterator[tuple[str, str]]:
            """Tell what has no effect; see `semfed.scenario.effects`."""
            reason = f"{here}.mode '{self.mode}' aligns nothing"
            if self.mode in WITHOUT_TRAINING:
                names = [f"{here}.{name}" for name in ("rho", "tolerance", "relative_tolerance")]
                names += ["learner.target_whitening", "learner.widely_linear"]
                yield from ((name, reason) for name in names)
            if self.mode in WITHOUT_PILOTS:
                yield "learner.ridge", reason
                for name in ("snr_db", "user_snr_db"):
                    yield f"channel.{name}", f"{here}.mode '{self.mode}' sends nothing through a channel"

        def check(self, scenario: Scenario) -> None:
            """Refuse a learner that cannot answer."""
            learner = scenario.learner.settings
            if not isinstance(learner, LatentSettings):
                raise ValueError(
                    f"learner = {scenario.learner.name!r}: strategy 'alignment' needs learner 'aligned-user'"
                )
            if self.mode == "reference" and learner.widely_linear:
                raise ValueError("learner.widely_linear = true: strategy.mode 'reference' is complex; use another mode")

    def __init__(self, trial: Trial, settings: Settings) -> None:
        super().__init__(trial, settings)
        self.settings = settings
        users = range(len(trial.scenario.clients))
        self.groups = [[user] for user in users] if settings.mode == "multi-link" else [list(users)]
        self.states: list[Consensus] = []
        self.settled_after: int | None = None
        """The round after which both residuals were small enough, so that nothing was exchanged any more."""
        self._sizes: dict[str, float] = {}

    def prepare(self, federation: Federation) -> None:
        """Account for the white pilots, which all users need once, and for what Eigen-K learns from the users."""
        mode, scenario = self.settings.mode, self.trial.scenario
        if mode not in WITHOUT_PILOTS:
            for client, told in federation.properties.items():
                federation.report("cost/bytes_down", float(told["pilot-bytes"]), client)
        features, channel = int(federation.properties[0]["features"]), scenario.channel.settings
        uses, antennas = getattr(channel, "uses", 0), getattr(channel, "transmit_antennas", 0)
        self._sizes = {
            "compression_factor_percent": 100 * uses / features,
            "symbol_ratio": antennas * uses / features,
        }
        if mode == "eigen-k":  # every user tells the directions that its map weighs most, float32
            for client, told in federation.properties.items():
                width = int(told["latent-width"])
                federation.report("cost/bytes_up", 4.0 * width * min(2 * antennas * uses, width), client)

    def details(self) -> dict[str, Any]:
        """Return the compression and, where there was an exchange, whether and after which round it converged."""
        if self.settings.mode in WITHOUT_TRAINING:
            return dict(self._sizes)
        return {**self._sizes, "converged": self.settled_after is not None, "settled_after": self.settled_after}

    def state(self) -> Arrays:
        """Return every group's F, Z and dual, and the round after which the exchange could stop."""
        kept = {
            f"{index}/{name}": tensor.numpy()
            for index, group in enumerate(self.states)
            for name, tensor in vars(group).items()
        }
        return kept if self.settled_after is None else kept | {"settled": np.array(self.settled_after)}

    def restore(self, arrays: Arrays, state: Arrays) -> None:
        """Go on from what `state` returned."""
        if "settled" in state:
            self.settled_after = int(state["settled"])
        names = [field.name for field in fields(Consensus)]
        self.states = [
            Consensus(*(torch.from_numpy(state[f"{index}/{name}"].copy()) for name in names))
            for index in range(len(self.groups))
            if f"{index}/{names[0]}" in state
        ]

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send F, unless there is nothing to learn or all is settled."""
        if self.settings.mode in WITHOUT_TRAINING or self.settled_after is not None:
            return []
        if not self.states:
            self.states = [Consensus.begin(from_wire(arrays["F"].numpy())) for _ in self.groups]
        return self._broadcast("train", server_round, config, "F", [state.precoder for state in self.states])

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Take the next step; a group of users of which none answered stays where it is.

        Returns
        -------
        arrays : ArrayRecord or None
            What is transmitted with, Z of every group.
        metrics : None
        """
        exchange = Replies.of(replies)
        if not exchange.total:
            return None, None
        symbols, features = self.states[0].precoder.shape
        kind = to_wire(self.states[0].precoder).dtype
        expected = wire.record({"0": np.zeros((symbols, symbols), kind), "1": np.zeros((symbols, features), kind)})
        told: dict[int, list[torch.Tensor]] = {}
        for reply in self.usable(server_round, exchange, expected=expected):
            answer = wire.views(reply.content.array_records["arrays"])
            told[reply.metadata.src_node_id] = [from_wire(array) for array in answer.values()]
        self._step(server_round, told)
        return wire.record({f"Z/{k}": to_wire(sent) for k, sent in enumerate(self._transmitted())}), None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send Z, or for baselines nothing but the mode."""
        if server_round % self.settings.evaluate_every and server_round < self.trial.scenario.rounds:
            return []
        return self._broadcast("evaluate", server_round, config, "Z", self._transmitted())

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Average the users' metrics; the mean of their parts of J is recorded as ``objective``."""
        averaged = super().aggregate_evaluate(server_round, replies)
        if averaged is not None and "objective/user" in averaged:
            self._opened().report("objective", float(cast(float, averaged["objective/user"])))
        return averaged

    def _step(self, server_round: int, told: dict[int, list[torch.Tensor]]) -> None:
        mode, rho = self.settings.mode, self.settings.rho
        enough = self.settings.tolerance, self.settings.relative_tolerance
        solver = cast(Solver, "admm" if mode == "multi-link" else mode)
        before = self.states
        for index, group in enumerate(self.groups):
            answers = [told[user] for user in group if user in told]
            if answers:
                grams, matches = [gram for gram, _ in answers], [match for _, match in answers]
                step = access_point_step(solver, before[index], grams, matches, rho=rho, power=POWER)
                self.states = [*self.states[:index], step, *self.states[index + 1 :]]
        pairs = list(zip(self.states, before, strict=True))
        residuals = np.array([now.residuals(then, rho) for now, then in pairs])
        for name, value in zip(("primal", "dual"), residuals.max(axis=0), strict=True):
            self._opened().report(f"admm/{name}-residual", float(value))
        everyone = len(told) == len(self.trial.scenario.clients)
        if everyone and all(now.settled(then, rho, *enough) for now, then in pairs):
            self.settled_after = server_round
        self._opened().report("admm/rounds", server_round)
        self._opened().report("admm/converged", float(self.settled_after is not None))
        rounds = self.trial.scenario.rounds
        if self.settled_after is None and server_round == rounds and any(enough):
            log(WARNING, "arm %s: the residuals are above their tolerances after %d rounds", self.trial.arm, rounds)

    def _transmitted(self) -> list[torch.Tensor]:
        """Return every group's Z; the reference profile transmits with F."""
        reference = self.settings.mode == "reference"
        return [state.precoder if reference else state.feasible for state in self.states]

    def _broadcast(
        self, kind: str, server_round: int, config: ConfigRecord, name: str, matrices: list[torch.Tensor]
    ) -> list[Message]:
        """Address every user; a matrix, where there is one, is that of the user's group."""
        own = ConfigRecord({**config, "mode": self.settings.mode})
        records = [wire.record({name: to_wire(matrix)}) for matrix in matrices] or [ArrayRecord()]
        return [
            self.message(user, kind, server_round, record, own)
            for record, group in zip(records, self.groups, strict=True)
            for user in group
        ]
