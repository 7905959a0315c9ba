"""Learners that are an objective: the base restores, trains, saves and tests."""

from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from semfed import seeding, training
from semfed.algorithms.information import empirical_pmf
from semfed.channels import Channel, ChannelState, Meter
from semfed.checkpoint.files import Arrays
from semfed.data import tasks
from semfed.errors import FederationError, ScenarioError
from semfed.events.metrics import declared_by
from semfed.flower.client.base import BaseLearner
from semfed.flower.client.build import SessionBuild
from semfed.flower.client.session import Session
from semfed.flower.protocol import PROXIMAL_MU, proximal_mu
from semfed.models.layers.dropout import draw_from
from semfed.models.layers.snr import tell, telling
from semfed.training import weights
from semfed.training.isolation import isolated
from semfed.training.objective import Batch, Networks, Objective, Send, add_up, mean_over, require_scalar
from semfed.training.step import Step, make_step
from semfed.training.system import System, pair


class Learner(BaseLearner, Objective):
    """A client that is its objective: a subclass says `networks`, `loss` and `score`.

    A round's parameters are the shared networks; private ones, and moments that the scenario wants kept, stay in the
    client's state. Without parameters `fit` and `evaluate` go on from the client's own last networks, if the class says
    so by `keeps_model`.

    Attributes
    ----------
    task : Task
        The one that the scenario names for the client.
    channel : Channel
    evaluation_batch : int
        Test images that are scored together.
    loss_name : str
        Metric of the mean training loss.
    """

    config_keys: ClassVar[Mapping[str, frozenset[str]]] = {"fit": frozenset({PROXIMAL_MU})}
    sends_encoded = True
    hears_snr = True
    validates = True
    evaluation_batch: ClassVar[int] = 10_000
    loss_name: ClassVar[str] = "train_loss"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        scenario, device = session.scenario, session.device
        self.task = scenario.tasks[session.spec.task]
        self.channel: Channel = session.cache.once(
            ("channel", session.channel_choice, device), lambda: session.channel_choice.make().to(device)
        )

    # -- what Flower calls ------------------------------------------------------------------------------------

    def shared(self) -> Arrays:
        """Return the initial weights of the shared networks, the same at every client of a seed."""
        return weights.to_arrays(self._build().shared_state)

    def get_properties(self, config: dict[str, Any]) -> dict[str, Any]:
        """Tell the statistics of the client's labels, and no more.

        Returns
        -------
        dict
            ``num-examples``; where labels are told, ``pmf/<value>`` for every value of the task and, of a class that
            declares an accuracy, ``baseline/accuracy``: what always deciding for the most frequent value reaches on
            the test set.

        Raises
        ------
        DataError
            If the client has no sample of a named value, where the class insists on one.
        """
        rows, targets = self.samples
        if self.requires_every_value:
            tasks.require_every_value(targets, self.task, self.session.spec.task, self.session.spec.name)
        self.require_minibatches(len(rows), self.resident())
        told: dict[str, Any] = {"num-examples": len(rows)}
        if self.tells_labels:
            size = len(self.task.symbols)
            if any(metric.name == "accuracy" for metric in declared_by(type(self)) or ()):
                told["baseline/accuracy"] = float(empirical_pmf(self.test_samples[1].cpu().numpy(), size).max())
            pmf = empirical_pmf(targets.cpu().numpy(), size)
            told |= {f"pmf/{symbol}": float(p) for symbol, p in zip(self.task.symbols, pmf, strict=True)}
        return told

    def fit(
        self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]
    ) -> tuple[list[npt.NDArray[Any]], int, dict[str, Any]]:
        """Train for the scenario's local epochs.

        Parameters
        ----------
        parameters : list of ndarray
            The shared networks, or nothing.
        config : dict
            ``server-round``: int; ``proximal-mu``: float, optional, holds the shared networks back.

        Returns
        -------
        parameters : list of ndarray
            The trained shared networks, or nothing.
        num_examples : int
        metrics : dict
            The mean loss while training, and ``channel-uses`` of all transmissions.

        Raises
        ------
        FederationError
            If a proximal term is asked for and nothing came to stay close to.
        """
        round_, mu = int(config["server-round"]), proximal_mu(config)
        if mu and not parameters:
            raise FederationError(f"{PROXIMAL_MU!r} = {mu:g}, but no parameters came to stay close to: send an average")
        kept = self.session.load("training") or {}
        nets = self._load(parameters, kept)
        step = self._step(nets, round_, mu)
        keeps = self.session.scenario.training.optimizer_state == "kept"
        if keeps and "optimizer" in kept:
            step.load_state(weights.unpack(kept["optimizer"], step.state()))
        uses, sizes, losses = 0, [], []
        with training.learning(*nets), telling(nets.hearing, None):
            for batch, state in self.steps(nets, round_):
                if nets.hearing:
                    tell(nets.hearing, self.channel.draw_snr(len(batch.labels), batch.images, state))
                losses.append(step(self, batch, self.link(state)))
                sizes.append(len(batch.labels))
                uses += state.uses
        self.keep(parameters, nets.state, step.state(), into=kept)
        told = {self.loss_name: training.mean_loss(losses, sizes), "channel-uses": uses}
        return weights.views(nets.shared_state) if parameters else [], len(self.samples[0]), told

    def evaluate(self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        """Test what came, or what the client keeps; arguments as in `fit`, result as in `test`."""
        nets = self._load(parameters, self.session.load("training") or {})
        with telling(nets.hearing, self.channel.settings.snr_db):
            return self.test(nets, int(config["server-round"]))

    def trained(self, parameters: list[npt.NDArray[Any]] | None, config: dict[str, Any]) -> Networks:
        """Return the networks with the weights that `evaluate` would test."""
        return self.resident() if parameters is None else self._load(parameters, self.session.load("training") or {})

    # -- what a subclass may say otherwise --------------------------------------------------------------------

    @torch.no_grad()
    def test(self, nets: Networks, round_: int) -> tuple[float, int, dict[str, Any]]:
        """Score all test images through the noisy channel.

        Returns
        -------
        loss : float
            Mean over the test images.
        num_examples : int
        metrics : dict
            The means of what `score` tells, and those of `ChannelState.metrics`.
        """
        state = ChannelState(self.session.generator("evaluation", round_), Meter())
        send = self.link(state)
        totals = add_up(self.score(nets, batch, send) for batch in self.test_batches())
        if "loss" not in totals:  # a transmission of its own, so that the score's noise does not depend on it
            again = self.link(ChannelState(self.session.generator("evaluation/loss", round_)))
            totals |= add_up({"loss": mean_over(batch, self.loss(nets, batch, again))} for batch in self.test_batches())
        means = {name: total.mean for name, total in totals.items()}
        return means.pop("loss"), len(self.test_samples[0]), {**means, **state.metrics()}

    def link(self, state: ChannelState) -> Send:
        """Bind the channel to a random stream and an account."""
        return partial(self.channel, state=state)

    def system(self, nets: Networks, config: dict[str, Any]) -> System:
        """Say how the networks decide: by default a decoder, about the client's task, on what an encoder has sent."""
        return pair(nets, self.link, self.session.spec.task, self.task.symbols)

    def targets(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return which images of given classes can be learned from or tested, and what is to be decided of them."""
        return tasks.values(labels, tasks.label_map(self.task, self.session.spec.task, self.session.dataset.classes))

    @cached_property
    def samples(self) -> tuple[Tensor, Tensor]:
        """The client's training images, as rows of the data set, and their targets."""
        own = torch.from_numpy(self.session.rows).to(self.session.device)
        kept, targets = self.targets(self.session.dataset.train.labels[own])
        return own[kept], targets

    @cached_property
    def test_samples(self) -> tuple[Tensor, Tensor]:
        """The test images that have a target, and their targets."""
        return self.targets(self.session.dataset.test.labels)

    def sizes(self, round_: int) -> list[int]:
        """Return the sizes of a round's minibatches."""
        settings = self.session.scenario.training
        return training.batch_sizes(len(self.samples[0]), settings.batch_size) * settings.epochs

    def steps(self, nets: Networks, round_: int) -> Iterator[tuple[Batch, ChannelState]]:
        """Yield the round's minibatches, and the state of the channel for each.

        One stream a round shuffles, gives dropout its masks, and makes noise and fading.
        """
        rows, targets = self.samples
        images, generator = self.session.images(rows), self.session.generator("training", round_)
        for network in nets.drawing.values():
            draw_from(network, generator)
        for chosen in training.shuffled(len(rows), self.session.scenario.training, generator):
            batch = Batch(images.index_select(0, chosen), targets.index_select(0, chosen))
            yield batch, ChannelState(generator, trains=True)

    def test_batches(self) -> Iterator[Batch]:
        """Yield the test images that have a target, some at a time."""
        rows, targets = self.test_samples
        images = self.session.images()
        images = images if len(rows) == len(images) else images[rows]
        size = self.evaluation_batch
        yield from map(Batch, torch.split(images, size), torch.split(targets, size))

    def try_out(self) -> set[str]:
        """Take the loss of a first minibatch, and the score of some test images, and keep nothing of it.

        Returns
        -------
        set of str
            Metrics that were scored; none where a class trains and tests in a way of its own.
        """
        nets, own = self.resident(), type(self)
        with isolated():
            if own.fit is Learner.fit:
                self._try_loss(nets)
            if own.test is not Learner.test:
                return set()
            whole = next(self.test_batches())
            size = self.session.scenario.training.batch_size
            few = Batch(whole.images[:size], whole.labels[:size])
            send = self.link(ChannelState(self.session.generator("evaluation", 1), Meter()))
            with torch.no_grad(), telling(nets.hearing, self.channel.settings.snr_db):
                return set(add_up([self.score(nets, few, send)]))

    # -- inside -----------------------------------------------------------------------------------------------

    def resident(self) -> Networks:
        """Borrow this process's networks of the client's architectures; their weights are anyone's."""
        session = self.session
        scenario, width = session.scenario, self.channel.settings.width
        model = scenario.model
        chosen = (session.encoder_choice, model.decoder, model.snr_input, scenario.learner)
        return session.cache.once(
            ("networks", type(self), *chosen, width, self.task, session.dataset.shape, session.device), self._build
        )

    def own_weights(self, nets: Networks, kept: Arrays, *, received: bool) -> list[npt.NDArray[Any]]:
        """Return the weights that a round starts from beside what was received: those that are kept, or initial ones.

        Parameters
        ----------
        nets : Networks
            The `resident` ones.
        kept : dict of str to ndarray
            The client's record ``training``.
        received : bool
            Whether the shared networks came; else they are the client's own, too.
        """
        part, state = ("private", nets.private_state) if received else ("networks", nets.state)
        if part in kept:
            return weights.views(weights.unpack(kept[part], state))
        initial = self._initial(nets) if state else {}
        return [initial[name] for name in state]

    def keep(
        self,
        parameters: list[npt.NDArray[Any]],
        state: Mapping[str, Tensor],
        moments: Mapping[str, Tensor],
        *,
        into: Arrays,
    ) -> None:
        """Save what is the client's own of a round's results.

        Parameters
        ----------
        parameters : list of ndarray
            What the round's message brought.
        state : mapping of str to Tensor
            All weights and buffers, as in `Networks.state`.
        moments : mapping of str to Tensor
            Of the optimiser, kept if the scenario wants it.
        into : dict of str to ndarray
            Vectors of the last record, to be filled again.
        """
        own = self.resident().private_state if parameters else state
        keeps = self.session.scenario.training.optimizer_state == "kept"
        states = {
            "private" if parameters else "networks": {name: state[name] for name in own},
            "optimizer": moments if keeps else {},
        }
        packed = {name: weights.pack(tensors, into=into.get(name)) for name, tensors in states.items() if tensors}
        if packed:
            self.session.save("training", packed, copy=False)

    def _build(self) -> Networks:
        """Make the networks with the client's initial weights."""
        build, model = SessionBuild(self.session, self.channel.settings.width), self.session.scenario.model
        with seeding.own_globals(self.session.trial.seed, "networks"):  # for modules that a class makes itself
            nets = self.networks(build)
        if len(nets.hearing) < max(build.aware, model.hears("encoder") + model.hears("decoder")):
            raise ScenarioError(
                f"model.snr_input = {model.snr_input!r}: learner {self.session.scenario.learner.name!r} has networks "
                "of its own, which do not hear the SNR: make them by build.encoder() and build.decoder(), or leave it "
                "out"
            )
        for name, network in {**nets.shared, **nets.private}.items():
            network.eval()  # until it learns, as those that `build` makes
            if any(map(is_lazy, (*network.parameters(), *network.buffers()))):
                raise ScenarioError(
                    f"learner {self.session.scenario.learner.name!r}: network {name!r} has a lazy layer, which has no "
                    "weights to start from: say how wide it is"
                )
        return nets

    def _try_loss(self, nets: Networks) -> None:
        with training.learning(*nets), telling(nets.hearing, None):
            for batch, state in self.steps(nets, 1):
                if nets.hearing:
                    tell(nets.hearing, self.channel.draw_snr(len(batch.labels), batch.images, state))
                send = _Noted(self.link(state))
                require_scalar(self.loss(nets, batch, send))
                if not send.used:
                    raise TypeError(
                        "loss() never calls send, so that nothing passes the channel: send what the encoder gives"
                    )
                return

    def _step(self, nets: Networks, round_: int, mu: float) -> Step:
        """Return what trains the networks, with a fresh optimiser; plain SGD that never changes is kept."""
        settings, additive = self.session.training(round_), self.channel.additive
        make = partial(make_step, self, nets, settings, additive=additive, mu=mu)
        if mu or not settings.plain_sgd or self.session.scenario.training.schedule is not None:
            return make()
        return self.session.cache.once(("step", settings.lr, additive, nets), make)

    def _load(self, parameters: list[npt.NDArray[Any]], kept: Arrays) -> Networks:
        """Fill the resident networks with what came, with what the client keeps, or with its initial weights."""
        nets = self.resident()
        if parameters:
            weights.fill(nets.shared_state, parameters)
        state = nets.private_state if parameters else nets.state
        weights.fill(state, self.own_weights(nets, kept, received=bool(parameters)))
        return nets

    def _initial(self, nets: Networks) -> Arrays:
        """Return the client's initial weights; where all of them are shared, they are made once for all clients."""

        def make() -> Arrays:
            return weights.to_arrays(self._build().state)

        return make() if nets.private else self.session.cache.once(("initial", self.session.trial.seed, nets), make)


class _Noted:
    """A link that knows whether it has been used."""

    def __init__(self, send: Send) -> None:
        self._send, self.used = send, False

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.used = True
        return self._send(*args, **options)
