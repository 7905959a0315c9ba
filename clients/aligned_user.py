"""A user that aligns its latent space with the access point's, over its own MIMO channel.

Source: "Federated Latent Space Alignment for Multi-user Semantic Communications" (arXiv 2602.17271).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from semfed import models, seeding, training
from semfed.alignment.baselines import Baseline, as_they_are, deliver
from semfed.alignment.pairing import (
    Options,
    Receiver,
    Sender,
    TargetWhitening,
    as_symbols,
    make_link,
    make_receiver,
    make_sender,
    recover,
)
from semfed.alignment.reference import reference_channel, reference_equalizer
from semfed.alignment.transmission import POWER, Radio
from semfed.alignment.updates import Link, equalizer, into_ball, objective, user_step
from semfed.alignment.wire import from_wire, to_wire
from semfed.channels import ChannelState
from semfed.channels.mimo import MIMO, draw_response
from semfed.data import tasks
from semfed.errors import DataError
from semfed.flower.client import Arrays, Learner, Session
from semfed.information import empirical_pmf
from semfed.latents import Encode, LatentSource, Place
from semfed.plugins import parse
from semfed.scenario import LatentsChoice, Scenario, TrainingSettings
from semfed.settings import StrictModel


@dataclass(frozen=True)
class AccessPoint:
    """What everyone knows of the access point: its pilots, and its latents of the test images."""

    sender: Sender
    test: Tensor
    white_test: Tensor


@dataclass(frozen=True)
class User:
    """What a user has: its pilots, its classifier, and its own latents of the test images to compare with."""

    receiver: Receiver
    classifier: nn.Module
    test: Tensor


class AlignedUser(Learner):
    """Answers a precoder with what the access point needs to improve it, and receives with its own equalizer.

    ``fit`` receives F and returns (A_k, D_k). ``evaluate`` receives Z, lets the access point's test latents pass the
    channel, and classifies what arrives; its config names the ``mode``, a baseline perhaps. Latents, channel and
    classifier follow from the seed, so they are made once per process and never sent.
    """

    class Settings(StrictModel):
        """Latents, pilots and how they are treated."""

        latents: LatentsChoice = Field(default_factory=partial(parse, "latents", "trained"))
        pilots: int = Field(default=8000, ge=2)
        """Training images that the access point and all users encode."""
        pilot_fraction: float = Field(default=1.0, gt=0, le=1)
        """Share of the pilots that is used: one common subset."""
        target_whitening: TargetWhitening = "full"
        """Whiten the users' latents, or only scale them."""
        widely_linear: bool = False
        """Treat complex signals as pairs of reals."""
        ridge: float = Field(default=0.0, ge=0)
        """Added to the variances that are whitened, as a share of their mean."""
        classifier: TrainingSettings = TrainingSettings(epochs=10, optimizer="adam", lr=0.01)
        """How a user's classifier learns from its own clean latents."""

        def check(self, scenario: Scenario) -> None:
            """Refuse settings that cannot work with the scenario's channel and clients."""
            channel, users = scenario.channel.settings, len(scenario.clients)
            if not isinstance(channel, MIMO.Settings):
                raise ValueError(f"channel = {scenario.channel.name!r}: learner 'aligned-user' needs channel 'mimo'")
            if channel.power != "none":
                raise ValueError(f"channel.power = {channel.power!r}: the precoder keeps the power; use 'none'")
            if channel.user_snr_db is not None and len(channel.user_snr_db) != users:
                raise ValueError(f"channel.user_snr_db has {len(channel.user_snr_db)} values for {users} users")
            if len({client.task for client in scenario.clients}) > 1:
                raise ValueError("clients: users of an alignment share one task; give all of them the same")

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        scenario = session.scenario
        settings = scenario.learner.settings
        if not isinstance(settings, self.Settings) or not isinstance(scenario.channel.settings, MIMO.Settings):
            raise TypeError("an aligned user needs its own settings and a MIMO channel")
        self.settings, self.channel_settings = settings, scenario.channel.settings
        self.task = scenario.tasks[session.spec.task]
        self.options = Options(settings.target_whitening, settings.widely_linear, settings.ridge)

    # -- Flower's methods ---------------------------------------------------------------------------------

    def shared(self) -> Arrays:
        """Return the precoder to start from: F ~ CN(0, 1), within the power; complex64, or float32 if all is real."""
        white = self._access_point().sender.white
        symbols = self.channel_settings.transmit_antennas * self.channel_settings.uses
        rows = 2 * symbols if self.settings.widely_linear else symbols
        generator = seeding.torch_generator(self.session.experiment.seed, "precoder")
        drawn = torch.randn((rows, len(white)), generator=generator, dtype=white.dtype)
        return {"F": to_wire(into_ball(drawn, POWER))}

    def get_properties(self, config: dict[str, Any]) -> dict[str, Any]:
        """Tell sizes and costs.

        Returns
        -------
        dict
            ``num-examples``: pilots; ``features``: m, complex; ``pilot-bytes``: of the white pilots, which the access
            point sends once; ``baseline/accuracy``: what always deciding for the most frequent value reaches.

        Raises
        ------
        DataError
            If latents or pilots cannot be used.
        """
        sender = self._access_point().sender
        self._user()
        majority = empirical_pmf(self._test_labels().numpy(), len(self.task.symbols)).max()
        return {
            "num-examples": sender.white.shape[1],
            "features": (len(sender.pilots) + 1) // 2,
            "pilot-bytes": to_wire(sender.white).nbytes,
            "baseline/accuracy": float(majority),
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
        return [to_wire(gram), to_wire(match)], self._access_point().sender.white.shape[1], {}

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
            ``accuracy``, a fraction; ``mse`` per real feature of the user's latents; ``nmse``, where 1 is what the
            pilots' mean alone reaches; ``objective/user``, the user's part of J; ``channel-uses``.
        """
        mode, user = str(config["mode"]), self._user()
        radio = self._radio(mode)
        state = ChannelState(
            seeding.torch_generator(
                self.session.experiment.seed, "evaluation", self.session.client, int(config["server-round"])
            )
        )
        metrics: dict[str, Any] = {}
        if parameters:
            precoder, link = from_wire(parameters[0]), self._link(radio)
            equalizer_ = self._equalizer(mode, link, precoder)
            sent = as_symbols(precoder @ self._access_point().white_test, self.options)
            latents = recover(radio.send(sent, state), equalizer_, user.receiver, self.options)
            metrics["objective/user"] = objective(link, precoder, equalizer_)
        else:
            latents = self._baseline(mode, radio, state)
        labels = self._test_labels()
        with torch.no_grad():
            logits = user.classifier(latents.T.float().to(self.session.device)).cpu()
        centred = user.test - user.receiver.pilots.mean(dim=1, keepdim=True)
        mse = float((latents - user.test).square().mean())
        accuracy = float((logits.argmax(1) == labels).double().mean())
        nmse = mse / float(centred.square().mean())
        metrics |= {"accuracy": accuracy, "mse": mse, "nmse": nmse, "channel-uses": state.uses}
        return mse, len(labels), metrics

    # -- the link -----------------------------------------------------------------------------------------

    def _radio(self, mode: str) -> Radio:
        """Return the user's channel, the same in every round."""
        settings, client = self.channel_settings, self.session.client
        snr_db = settings.snr_db if settings.user_snr_db is None else settings.user_snr_db[client]
        generator = seeding.torch_generator(self.session.experiment.seed, "channel", client)
        response = draw_response(settings.receive_antennas, settings.transmit_antennas, generator)
        if mode == "reference":
            response, snr_db = reference_channel(response, snr_db, settings.uses)
        return Radio(MIMO(settings.model_copy(update={"snr_db": snr_db})).fix(response))

    def _link(self, radio: Radio) -> Link:
        return make_link(self._user().receiver, radio.response, radio.noise, self.options)

    def _equalizer(self, mode: str, link: Link, precoder: Tensor) -> Tensor:
        if mode == "reference":
            return reference_equalizer(link, precoder, self._user().receiver.pilots.shape[1])
        return equalizer(link, precoder)

    def _baseline(self, mode: str, radio: Radio, state: ChannelState) -> Tensor:
        """Return the user's latents of the test images, shape (dk, samples), as a baseline gets them."""
        access_point, user = self._access_point(), self._user()
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

    # -- what follows from the seed, made once per process ------------------------------------------------

    def _key(self, *parts: Any) -> tuple[Any, ...]:
        scenario, session = self.session.scenario, self.session
        origin = (scenario.model, scenario.clients, scenario.training, self.settings.latents)
        return (str(origin), session.experiment.seed, session.data_root, session.device, *parts)

    def _pilot_key(self, *parts: Any) -> tuple[Any, ...]:
        return self._key(self.settings.pilots, self.settings.pilot_fraction, self.options, *parts)

    def _source(self) -> LatentSource:
        session, choice = self.session, self.settings.latents

        def rows(client: int) -> Tensor:
            return torch.from_numpy(session.worker.rows(session.experiment, session.data_root, client))

        def opened() -> LatentSource:
            place = Place(
                session.scenario,
                session.experiment.seed,
                dataset,
                session.images,
                rows,
                session.data_root,
                session.device,
            )
            source: LatentSource = choice.load()(choice.settings, place)
            return source

        dataset = session.dataset  # first: another data set empties the cache
        return session.worker.once(self._key("source"), opened)

    def _encoder(self, owner: int | None) -> Encode:
        return self.session.worker.once(self._key("encoder", owner), lambda: self._source().encoder(owner))

    def _latents(self, owner: int | None, rows: Tensor | None) -> Tensor:
        """Return latents with samples in columns, float64."""
        return self._encoder(owner)(rows).T.double()

    def _pilots(self) -> Tensor:
        """Return the pilots' training rows, the same for everyone; fewer pilots are the first of more."""
        settings, samples = self.settings, self._source().samples()
        if settings.pilots > samples:
            raise DataError(f"learner.pilots = {settings.pilots}, but there are {samples} training images: lower it")
        generator = seeding.torch_generator(self.session.experiment.seed, "pilots")
        count = round(settings.pilots * settings.pilot_fraction)
        return torch.randperm(samples, generator=generator)[:count]

    def _access_point(self) -> AccessPoint:
        def made() -> AccessPoint:
            sender = make_sender(self._latents(None, self._pilots()), self.options)
            test = self._latents(None, None)
            return AccessPoint(sender, test, sender.whitening.apply(self.options.features(test)))

        self._source()
        return self.session.worker.once(self._pilot_key("access point"), made)

    def _user(self) -> User:
        client, name = self.session.client, self.session.spec.name

        def made() -> User:
            pilots = self._latents(client, self._pilots())
            receiver = make_receiver(self._access_point().sender, pilots, self.options, owner=f"user {name!r}")
            return User(receiver, self._classifier(), self._latents(client, None))

        self._source()
        return self.session.worker.once(self._pilot_key("user", client), made)

    def _classifier(self) -> nn.Module:
        """Train a classifier on the user's own clean latents."""
        session, client = self.session, self.session.client
        seed, device = session.experiment.seed, session.device

        def trained() -> nn.Module:
            rows = self._source().private(client)
            latents = self._encoder(client)(rows).to(device)
            values = self._values(self._source().labels(rows)).to(device)
            choice, symbols = session.scenario.model.decoder, len(self.task.symbols)
            network = models.build(choice, latents.shape[1:], outputs=symbols, stream=(seed, "classifier", client))
            network = network.to(device)
            training.fit(
                lambda batch, wanted: cross_entropy(network(batch), wanted),
                list(network.parameters()),
                latents,
                values,
                settings=self.settings.classifier,
                generator=seeding.torch_generator(seed, "classifier training", client, device=device),
            )
            return network.eval()

        key = self._key("classifier", client, self.settings.classifier, str(session.spec.task))
        return session.worker.once(key, trained)

    def _test_labels(self) -> Tensor:
        return self._values(self._source().labels(None))

    def _values(self, classes: Tensor) -> Tensor:
        """Return the task's values of classes; every class must have one."""
        name = self.session.spec.task
        values = tasks.label_map(self.task, name, self.session.dataset.classes)[classes]
        if bool((values < 0).any()):
            raise DataError(f"tasks.{name}: every class needs a value here; name the others with 'rest'")
        return values
