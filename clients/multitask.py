"""A semantic transmitter-receiver pair: the encoder is shared through the strategy, the decoder stays private.

Source: "Semantic-Aware Task Clustering for Federated Cooperative Multi-Task Semantic Communication"
(arXiv 2601.17419), section III-A: the local objective is the cross-entropy through the noisy channel, eq. (4).
"""

from typing import Any, ClassVar

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from semfed import models, training
from semfed.algorithms.information import empirical_pmf
from semfed.channels import Channel, ChannelState, Meter
from semfed.data import tasks
from semfed.flower.client.learner import PROXIMAL_MU, Arrays, Learner, Session, proximal_mu
from semfed.scenario.settings import StrictModel
from semfed.training import weights

from .scores import ACCURACY

EVALUATION_BATCH = 10_000


class MultitaskClient(Learner):
    """Trains an encoder and its own decoder through the channel.

    ``fit`` receives and returns the encoder; ``evaluate`` tests the received encoder with the own decoder on the
    whole test set, seen through the client's task, with channel noise.
    """

    Settings = StrictModel
    metrics = (ACCURACY,)
    requires_every_value = True
    config_keys: ClassVar = {"fit": frozenset({PROXIMAL_MU})}
    sends_encoded = True

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        scenario, device = session.scenario, session.device
        self.task = scenario.tasks[session.spec.task]
        encoder, decoder = session.encoder_choice, scenario.model.decoder
        shape, seed = session.dataset.shape, session.trial.seed
        self.channel: Channel = scenario.channel.load()(scenario.channel.settings).to(device)
        width = self.channel.settings.width

        def build_encoder() -> nn.Module:
            return models.build(encoder, shape, outputs=width, stream=(seed, "encoder", 0)).to(device)

        def build_decoder(index: int = session.client) -> nn.Module:
            with torch.no_grad():
                features = self.encoder(torch.zeros(1, *shape, device=device)).shape[1:]
            outputs = len(self.task.symbols)
            return models.build(decoder, tuple(features), outputs=outputs, stream=(seed, "decoder", index)).to(device)

        key = (str(encoder.dump()), width, shape, device)
        self.encoder = session.cache.once(("encoder", *key), build_encoder)
        self.decoder = session.cache.once(("decoder", *key, str(decoder.dump()), len(self.task.symbols)), build_decoder)
        self._build_encoder, self._build_decoder = build_encoder, build_decoder

    def shared(self) -> Arrays:
        """Return the initial encoder, the same for every scheme, cluster and client of a seed."""
        return weights.of(self._build_encoder())

    def get_properties(self, config: dict[str, Any]) -> dict[str, Any]:
        """Tell the label statistics that clustering needs, and no more.

        Returns
        -------
        dict
            ``pmf/<value>`` for every value of the task, ``num-examples``, and ``baseline/accuracy``: what always
            deciding for the most frequent value reaches on the test set.

        Raises
        ------
        DataError
            If the client has no sample of a named value.
        """
        _, labels = self._training_rows()
        tasks.require_every_value(labels, self.task, self.session.spec.task, self.session.spec.name)
        self.require_minibatches(len(labels), [self.encoder, self.decoder])
        pmf = empirical_pmf(labels.cpu().numpy(), len(self.task.symbols))
        tested = tasks.values(self.session.dataset.test.labels, self._label_map())[1]
        majority = empirical_pmf(tested.cpu().numpy(), len(self.task.symbols)).max()
        return {
            "num-examples": len(labels),
            "baseline/accuracy": float(majority),
            **{f"pmf/{symbol}": float(p) for symbol, p in zip(self.task.symbols, pmf, strict=True)},
        }

    def fit(
        self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]
    ) -> tuple[list[npt.NDArray[Any]], int, dict[str, Any]]:
        """Train encoder and decoder for the scenario's local epochs.

        Parameters
        ----------
        parameters : list of ndarray
            The encoder of the client's cluster.
        config : dict
            ``server-round``: int; ``proximal-mu``: float, optional, holds the encoder back.

        Returns
        -------
        parameters : list of ndarray, float32
            The trained encoder.
        num_examples : int
        metrics : dict
            ``train_loss``, the cross-entropy in nats, ``channel-uses`` of all transmissions.
        """
        self._load(parameters)
        rows, labels = self._training_rows()
        generator = self.session.generator("training", int(config["server-round"]))
        state = ChannelState(generator)

        def loss(images: Tensor, values: Tensor) -> Tensor:
            return cross_entropy(self.decoder(self.channel(self.encoder(images), state)), values)

        networks, mu = [self.encoder, self.decoder], proximal_mu(config)
        with self.optimizer(networks, mu=mu, shared=[self.encoder]) as optimizer:
            mean_loss = training.fit(
                loss,
                networks,
                self.session.images(rows),
                labels,
                settings=self.session.scenario.training,
                generator=generator,
                optimizer=optimizer,
            )
        self.session.save("decoder", weights.of(self.decoder))
        metrics = {"train_loss": mean_loss, "channel-uses": state.uses}
        return list(weights.of(self.encoder).values()), len(rows), metrics

    def evaluate(self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        """Decide the task on all test images through the noisy channel; arguments as in `fit`.

        Returns
        -------
        loss : float
            Mean cross-entropy in nats.
        num_examples : int
        metrics : dict
            ``accuracy``, a fraction, and those of `ChannelState.metrics`.
        """
        self._load(parameters)
        rows, labels = tasks.values(self.session.dataset.test.labels, self._label_map())
        images = self.session.images()
        if len(rows) < len(images):
            images = images[rows]
        state = ChannelState(self.session.generator("evaluation", int(config["server-round"])), Meter())
        with torch.no_grad():
            logits = torch.cat(
                [
                    self.decoder(self.channel(self.encoder(part), state))
                    for part in torch.split(images, EVALUATION_BATCH)
                ]
            )
            loss = float(cross_entropy(logits, labels))
            correct = int((logits.argmax(1) == labels).sum())
        return loss, len(labels), {"accuracy": correct / len(labels), **state.metrics()}

    def _label_map(self) -> Tensor:
        return tasks.label_map(self.task, self.session.spec.task, self.session.dataset.classes)

    def _training_rows(self) -> tuple[Tensor, Tensor]:
        """Return the client's training rows that have a value in its task, and those values."""
        own = torch.from_numpy(self.session.rows).to(self.session.device)
        kept, labels = tasks.values(self.session.dataset.train.labels[own], self._label_map())
        return own[kept], labels

    def _load(self, parameters: list[npt.NDArray[Any]]) -> None:
        names = list(self.encoder.state_dict())
        weights.restore(self.encoder, dict(zip(names, parameters, strict=True)))
        weights.restore(self.decoder, self.session.load("decoder") or weights.of(self._build_decoder()))
