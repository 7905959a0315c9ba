"""A user that aligns its latent space with the access point's, over its own MIMO channel.

Source: "Federated Latent Space Alignment for Multi-user Semantic Communications" (arXiv 2602.17271).
"""

from functools import partial
from typing import Any, ClassVar, Literal, cast

import numpy.typing as npt
import torch
from torch import Tensor, nn

from semfed import seeding
from semfed.algorithms.alignment import link as links
from semfed.algorithms.alignment.baselines import Baseline, as_they_are, deliver, projection_link
from semfed.algorithms.alignment.data import AlignmentData, LatentSettings, User
from semfed.algorithms.alignment.latents import LatentContext
from semfed.algorithms.alignment.pairing import as_symbols, recover, user_statistics
from semfed.algorithms.alignment.reference import reference_channel, reference_equalizer
from semfed.algorithms.alignment.transmission import POWER, Radio
from semfed.algorithms.alignment.updates import UserStatistics, equalizer, into_ball, objective, user_step
from semfed.algorithms.alignment.wire import from_wire, to_wire
from semfed.algorithms.information import empirical_pmf
from semfed.channels import ChannelState, Meter
from semfed.channels.mimo import MIMO, draw_response
from semfed.checkpoint.files import Arrays
from semfed.errors import SemfedError
from semfed.events.metrics import Metric
from semfed.flower.client.base import BaseLearner
from semfed.flower.client.session import Session
from semfed.scenario import Scenario, Task
from semfed.training.decisions import BALANCED_ACCURACY, F1, balanced_scores
from semfed.training.judging import own_tasks, scored
from semfed.training.objective import Networks
from semfed.training.system import System, Transmission

from .scores import ACCURACY

PROJECTIONS = ("first-k", "eigen-k")
NO_LINK = {
    "top-k": "which features are sent depends on the image, and their indices do not pass the channel",
    "own-latent": "nothing is sent, for users decide on latents of their own",
    "unaligned": "latents reach the user without passing the channel",
}
"""Modes that only serve comparisons, and why nothing can be made of them that takes images to decisions."""


class AlignedUser(BaseLearner):
    """Answers a precoder with what the access point needs to improve it, and receives with its own equalizer.

    ``fit`` receives F and returns (A_k, D_k). ``evaluate`` receives Z, lets the access point's test latents pass the
    channel, and classifies what arrives; its config names the ``mode``, a baseline perhaps. Latents, channel and
    classifier follow from the seed, so they are made once per process and never sent.
    """

    metrics = (
        ACCURACY,
        BALANCED_ACCURACY,
        F1,
        Metric("nmse", better="lower", text="NMSE"),
        Metric("mse", better="lower", role="detail", text="MSE"),
        Metric("objective/user", better="lower", role="detail"),
    )
    config_keys: ClassVar = {"fit": frozenset({"mode"}), "evaluate": frozenset({"mode"})}

    class Settings(LatentSettings):
        """Latents and pilots."""

        def check(self, scenario: Scenario) -> None:
            """Refuse settings that cannot work with the scenario's channel and clients."""
            channel = scenario.channel.settings
            if not isinstance(channel, MIMO.Settings):
                raise ValueError(f"channel = {scenario.channel.name!r}: learner 'aligned-user' needs channel 'mimo'")
            if not hasattr(scenario.strategy.settings, "mode"):
                raise ValueError(
                    f"strategy = {scenario.strategy.name!r}: learner 'aligned-user' needs strategy 'alignment'"
                )
            if channel.power != "none":
                raise ValueError(f"channel.power = {channel.power!r}: the precoder keeps the power; use 'none'")
            if len({client.task for client in scenario.clients}) > 1:
                raise ValueError("clients: users of an alignment share one task; give all of them the same")

    channel_a_user = True
    tells_labels = False

    @classmethod
    def judged(cls, scenario: Scenario) -> tuple[Task, ...]:
        """Return the users' task."""
        return own_tasks(scenario)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        scenario, seed, cache = session.scenario, session.trial.seed, session.cache

        def rows(client: int) -> Tensor:
            return torch.from_numpy(cache.rows(session.trial, session.data_root, client))

        self.settings = cast(LatentSettings, scenario.learner.settings)
        self.channel = cast(MIMO.Settings, scenario.channel.settings)
        place = LatentContext(scenario, seed, session.dataset, session.images, rows, session.data_root, session.device)
        key = ("prepared", session.trial.digest, session.data_root, session.device)
        self.prepared = cache.once(key, lambda: AlignmentData(place, self.settings, cache.once))

    def shared(self) -> Arrays:
        """Return the precoder to start from: F ~ CN(0, 1), within the power; complex64, or float32 if all is real."""
        white = self.prepared.access_point().sender.white
        symbols = self.channel.transmit_antennas * self.channel.uses
        rows = 2 * symbols if self.settings.widely_linear else symbols
        generator = seeding.torch_generator(self.session.trial.seed, "precoder")
        drawn = torch.randn((rows, len(white)), generator=generator, dtype=white.dtype)
        return {"F": to_wire(into_ball(drawn, POWER))}

    def get_properties(self, config: dict[str, Any]) -> dict[str, Any]:
        """Tell sizes and costs.

        Returns
        -------
        dict
            ``num-examples``: pilots; ``latent-width``: of the access point, real; ``features``: m, complex;
            ``pilot-bytes``: of the white pilots, which the access point sends once; ``baseline/accuracy``: what always
            deciding for the most frequent value reaches.

        Raises
        ------
        DataError
            If latents or pilots cannot be used.
        """
        sender = self.prepared.access_point().sender
        self._user()
        values = self.prepared.test_values().numpy()
        return {
            "num-examples": sender.white.shape[1],
            "latent-width": len(sender.pilots),
            "features": (len(sender.pilots) + 1) // 2,
            "pilot-bytes": to_wire(sender.white).nbytes,
            "baseline/accuracy": float(empirical_pmf(values, len(self.prepared.task.symbols)).max()),
        }

    def fit(
        self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]
    ) -> tuple[list[npt.NDArray[Any]], int, dict[str, Any]]:
        """Find the best equalizer for a precoder and tell what follows from it.

        Parameters
        ----------
        parameters : list of ndarray
            F, shape (s, m).
        config : dict
            ``mode``: the strategy's.

        Returns
        -------
        parameters : list of ndarray, complex64 or float32
            A_k, shape (s, s), and D_k, shape (s, m).
        num_examples : int
            Pilots: the same at every user, so that means weigh all users equally.
        metrics : dict
            Empty.
        """
        mode, precoder = str(config["mode"]), from_wire(parameters[0])
        link = self._link(self._radio(mode))
        gram, match = user_step(link, self._equalizer(mode, link, precoder))
        return [to_wire(gram), to_wire(match)], self._user().receiver.pilots.shape[1], {}

    def evaluate(self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        """Receive the test images' latents through the channel and classify them.

        Parameters
        ----------
        parameters : list of ndarray
            Z, shape (s, m); nothing for baselines.
        config : dict
            ``mode``: the strategy's; ``server-round``: int.

        Returns
        -------
        loss : float
            The MSE.
        num_examples : int
            Test images.
        metrics : dict
            ``accuracy``, ``balanced-accuracy`` and ``f1``, fractions; the scenario's ``metrics``;
            ``mse`` per real feature of the user's latents;
            ``nmse``, where 1 is what the pilots' mean alone reaches; ``objective/user``, the user's part of J; those of
            `ChannelState.metrics`, where a power of 1 is the whole P of a message.
        """
        mode, user = str(config["mode"]), self._user()
        radio, seed = self._radio(mode), self.session.trial.seed
        state = ChannelState(
            seeding.torch_generator(seed, "evaluation", self.session.client, int(config["server-round"])), Meter()
        )
        metrics: dict[str, Any] = {}
        if parameters:
            precoder, link = from_wire(parameters[0]), self._link(radio)
            best = self._equalizer(mode, link, precoder)
            sent = as_symbols(precoder @ self.prepared.access_point().white_test, self.settings.options)
            latents = recover(radio.send(sent, state), best, user.receiver, self.settings.options)
            metrics["objective/user"] = objective(link, precoder, best)
        else:
            latents = self._baseline(mode, radio, state)
        values = self.prepared.test_values()
        with torch.no_grad():
            logits = user.classifier(latents.T.float().to(self.session.device)).cpu()
        mse = float((latents - user.test).square().mean())
        scatter = float((user.test - user.receiver.pilots.mean(dim=1, keepdim=True)).square().mean())
        accuracy = float((logits.argmax(1) == values).double().mean())
        metrics |= {
            "accuracy": accuracy,
            **balanced_scores(logits.argmax(1), values),
            **scored(logits, values, self.judges),
            "mse": mse,
            "nmse": mse / scatter,
            **state.metrics(),
        }
        return mse, len(values), metrics

    def rehearse(self) -> None:
        """See that there are encoders, and make classifiers; nothing is trained, and no latent is made, for that."""
        self.prepared.rehearse(self.session.client)

    def trained(self, parameters: list[npt.NDArray[Any]] | None, config: dict[str, Any]) -> Networks:
        """Return the access point's half and the user's; arguments as in `evaluate`.

        Raises
        ------
        SemfedError
            If the mode is one of comparisons that are no link.
        """
        mode, settings = str(config["mode"]), self.channel
        if mode in NO_LINK:
            raise SemfedError(f"strategy.mode = {mode!r} makes no link: {NO_LINK[mode]}")
        symbols, received = (settings.uses * n for n in (settings.transmit_antennas, settings.receive_antennas))
        network = self.prepared.network(None, trained=parameters is not None)
        if parameters is None:
            image = torch.zeros(1, *self.session.dataset.shape, device=self.session.device)
            encoders = network, self.prepared.network(self.session.client, trained=False)
            with torch.no_grad():
                widths = [encoder(image).flatten(1).shape[1] for encoder in encoders]
            projected = mode in PROJECTIONS
            real = self.settings.widely_linear and not projected
            matrices = links.blank(*widths, symbols=symbols, received=received, real=real, projected=projected)
            classifier = self.prepared.untrained_classifier(widths[1])
        else:
            matrices, classifier = self._matrices(mode, parameters), self._user().classifier
        halves: dict[str, nn.Module] = {
            "access-point": links.AccessPointHalf(network, matrices, symbols),
            "user": links.UserHalf(classifier, matrices, symbols),
        }
        return Networks({}, halves)

    def system(self, nets: Networks, config: dict[str, Any]) -> System:
        """Say how the halves decide: over the user's own channel, the same matrix in every transmission."""
        channel = self._radio(str(config["mode"])).channel
        values = {self.session.spec.task: self.prepared.task.symbols}
        transmission = Transmission(lambda state: partial(channel, state=state))
        return System(nets.private["access-point"], transmission, nets.private["user"], values)

    def _matrices(self, mode: str, parameters: list[npt.NDArray[Any]]) -> links.Matrices:
        """Return what the user receives with in a mode; parameters as in `evaluate`."""
        sender, user, radio = self.prepared.access_point().sender, self._user(), self._radio(mode)
        if mode in PROJECTIONS:
            baseline = cast(Literal["first-k", "eigen-k"], mode)
            own, users = sender.pilots, user.receiver.pilots
            return links.projected(projection_link(baseline, own, users, radio=radio, ridge=self.settings.ridge))
        precoder = from_wire(parameters[0])
        return links.aligned(sender, precoder, self._equalizer(mode, self._link(radio), precoder), user.receiver)

    def _user(self) -> User:
        return self.prepared.user(self.session.client)

    def _radio(self, mode: str) -> Radio:
        """Return the user's channel, the same in every round."""
        channel, client = self.channel, self.session.client
        snr_db = channel.snr_db if channel.user_snr_db is None else channel.user_snr_db[client]
        generator = seeding.torch_generator(self.session.trial.seed, "channel", client)
        response = draw_response(channel.receive_antennas, channel.transmit_antennas, generator)
        if mode == "reference":
            response, snr_db = reference_channel(response, snr_db, channel.uses)
        return Radio(MIMO(channel.model_copy(update={"snr_db": snr_db})).fix(response))

    def _link(self, radio: Radio) -> UserStatistics:
        return user_statistics(self._user().receiver, radio.response, radio.noise, self.settings.options)

    def _equalizer(self, mode: str, link: UserStatistics, precoder: Tensor) -> Tensor:
        if mode == "reference":
            return reference_equalizer(link, precoder, self._user().receiver.pilots.shape[1])
        return equalizer(link, precoder)

    def _baseline(self, mode: str, radio: Radio, state: ChannelState) -> Tensor:
        """Return the user's latents of the test images, shape (dk, samples), as a baseline gets them."""
        access_point, user = self.prepared.access_point(), self._user()
        if mode == "own-latent":
            return user.test
        if mode == "unaligned":
            return as_they_are(access_point.test, len(user.test))
        received = deliver(
            cast(Baseline, mode),
            access_point.test,
            access_point.sender.pilots,
            user.receiver.pilots,
            radio=radio,
            send=lambda symbols: radio.send(symbols, state),
            ridge=self.settings.ridge,
        )
        if mode == "top-k":
            state.uses *= 2  # the indices, which arrive without error, are charged as much as the values
        return received
