"""What a client minimises: its networks, its loss on a batch, its score on a test batch.

An objective says nothing of messages, devices, files or caches. Whoever trains it picks a fused step where one exists
for its type, see `semfed.training.step`, and autograd otherwise.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from torch import Tensor, nn

from semfed.models.layers.dropout import draws
from semfed.models.layers.snr import hearing

Send = Callable[[Tensor], Any]
"""The channel, bound to a client's random stream and account: (batch, numbers) in and out, differentiable.

A broadcast gives a tuple of what every receiver hears.
"""


class Batch(NamedTuple):
    """Samples that are processed together.

    Attributes
    ----------
    images : Tensor, shape (batch, channels, height, width), float32
        Standardised.
    labels : Tensor, shape (batch, ...), int64
        What is to be decided of them.
    """

    images: Tensor
    labels: Tensor


class Networks:
    """Networks by name: those that are exchanged, and those that never leave the client.

    They are attributes, too: ``nets.encoder``.

    Parameters
    ----------
    shared, private : mapping of str to nn.Module
        An `nn.ModuleDict` or `nn.ModuleList` where there are several of a kind.

    Attributes
    ----------
    state, shared_state, private_state : dict of str to Tensor
        Weights and buffers, named ``<network>.<...>``, which share the networks' memory. A network that is shared alone
        keeps its own names in `shared_state`: what is exchanged is its ``state_dict()``.
    parameters, shared_parameters : list of nn.Parameter
        What is trained, shared networks first.
    drawing : dict of str to nn.Module
        Which of the networks have dropout.
    hearing : list of SNRAware
        What of them wants to be told the SNR; see `semfed.models.layers.snr`.
    """

    def __init__(self, shared: Mapping[str, nn.Module], private: Mapping[str, nn.Module] | None = None) -> None:
        self.shared, self.private = dict(shared), dict(private or {})
        self._all = {**self.shared, **self.private}
        if len(self._all) < len(self.shared) + len(self.private):
            raise ValueError(f"a network is either shared or private: {sorted(self.shared.keys() & self.private)}")
        self.private_state = _state(self.private)
        self.state = _state(self.shared) | self.private_state
        (alone, *others) = self.shared.values() or [nn.Module()]
        self.shared_state = _state(self.shared) if others else alone.state_dict()
        self.shared_parameters = [p for network in self.shared.values() for p in network.parameters()]
        self.parameters = [p for network in self for p in network.parameters()]
        self.drawing = {name: network for name, network in self._all.items() if draws(network)}
        self.hearing = hearing(self)

    def __iter__(self) -> Iterator[nn.Module]:
        """Yield all networks, shared ones first."""
        return iter(self._all.values())

    def __getattr__(self, name: str) -> Any:
        """Return a network by its name."""
        networks: dict[str, nn.Module] = self.__dict__.get("_all", {})
        if name not in networks:
            raise AttributeError(f"there is no network {name!r} among {sorted(networks)}")
        return networks[name]


def _state(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": tensor for name, network in networks.items() for key, tensor in network.state_dict().items()
    }


class Score(Protocol):
    """What a batch's test says of a metric: it adds up over batches, and has a value in the end."""

    def __add__(self, other: Self, /) -> Self:
        """Return what both batches say together."""

    @property
    def mean(self) -> float:
        """The value."""


@dataclass(frozen=True)
class Total:
    """A mean that is not divided yet, so that it adds up over batches.

    Attributes
    ----------
    sum : float
    count : int
    """

    sum: float
    count: int

    def __add__(self, other: "Total") -> "Total":
        """Return the total of both."""
        return Total(self.sum + other.sum, self.count + other.count)

    @property
    def mean(self) -> float:
        """Sum over count."""
        return self.sum / self.count


def correct(logits: Tensor, labels: Tensor) -> Total:
    """Count the samples whose largest logit is that of their label.

    Parameters
    ----------
    logits : Tensor, shape (batch, values)
    labels : Tensor, shape (batch,), int64
    """
    return Total(int((logits.argmax(1) == labels).sum()), len(labels))


def mean_over(batch: Batch, mean: Tensor) -> Total:
    """Return the total of a batch of which the mean is known, a scalar."""
    return Total(float(mean) * len(batch.labels), len(batch.labels))


class Build(Protocol):
    """Makes the networks that a scenario names, with the initial weights of a seed and a client."""

    def encoder(self) -> nn.Module:
        """Make the client's encoder; its initial weights are the same at every client."""

    def decoder(self, outputs: int, *, shared: bool = False, name: str = "decoder") -> nn.Module:
        """Make a decoder of what the encoder gives out; a shared one has the same initial weights at every client.

        Decoders of different names have different initial weights.
        """


class Objective(ABC):
    """What a client minimises, and how it is judged.

    Attributes
    ----------
    stacks : bool
        Whether `loss` can be computed for several clients at once, by ``torch.vmap``, with their weights stacked: all
        in which clients differ comes to it by its arguments, and it draws nothing at random itself. The class that has
        a `loss` says so in its own body; a subclass with another `loss` does not inherit the word.
    """

    stacks: ClassVar[bool] = False

    @property
    def judges(self) -> Mapping[str, Callable[[Tensor, Tensor], float]]:
        """Further scores of decisions, by name; see `semfed.training.judging`."""
        return {}

    @abstractmethod
    def networks(self, build: Build) -> Networks:
        """Make the networks and say which are exchanged."""

    @abstractmethod
    def loss(self, nets: Networks, batch: Batch, send: Send) -> Tensor:
        """Return the mean loss of a minibatch, a scalar that can be differentiated."""

    def score(self, nets: Networks, batch: Batch, send: Send) -> Mapping[str, Score]:
        """Judge the networks on a test batch: by metric, what adds up over batches; by default the loss alone.

        ``loss`` is expected among them. Without it, it is computed apart, with a transmission of its own.
        """
        return {"loss": mean_over(batch, self.loss(nets, batch, send))}


def require_scalar(loss: Tensor) -> None:
    """Insist on one number for a minibatch, of which nobody has to guess how samples count.

    Raises
    ------
    TypeError
        If a loss is something else.
    """
    if not isinstance(loss, Tensor) or loss.dim():
        what = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise TypeError(f"loss() gives {what} instead of one number in a tensor: return the mean over the batch")


def add_up(scores: Iterable[Mapping[str, Score]]) -> dict[str, Score]:
    """Add the scores of batches, metric by metric.

    Raises
    ------
    TypeError
        If one is a bare number, of which nobody knows over how many samples it is a mean.
    """
    totals: dict[str, Score] = {}
    for score in scores:
        for name, total in score.items():
            if isinstance(total, int | float | Tensor):
                raise TypeError(
                    f"score() gives {name!r} as a {type(total).__name__}, which cannot be added up over batches: give "
                    "a Total(sum, count), or correct(logits, labels)"
                )
            totals[name] = totals[name] + total if name in totals else total
    return totals
