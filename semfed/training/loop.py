"""The local loop: tensors in, tensors out. It knows neither Flower nor files."""

import operator
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from semfed.scenario import TrainingSettings
from semfed.training.modes import learning
from semfed.training.optimizers import Optimizer, make_optimizer

Loss = Callable[[Tensor, Tensor], Tensor]
Step = Callable[[Tensor, Tensor], Tensor]


def batch_sizes(samples: int, batch_size: int) -> list[int]:
    """Return the sizes of an epoch's minibatches.

    A single sample that is left over joins the minibatch before it, since batch normalisation cannot train on one.

    Examples
    --------
    >>> batch_sizes(7, 3), batch_sizes(8, 3)
    ([3, 4], [3, 3, 2])
    """
    full, rest = divmod(samples, batch_size)
    sizes = [batch_size] * full
    if rest == 1 and full:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes


def minibatches(samples: int, settings: TrainingSettings, generator: torch.Generator) -> tuple[Tensor, list[int]]:
    """Shuffle samples into the minibatches of all epochs.

    Parameters
    ----------
    samples : int
        How many there are.
    settings : TrainingSettings
        Epochs and batch size.
    generator : torch.Generator
        Shuffles, once an epoch.

    Returns
    -------
    indices : Tensor of int64
        Those of one minibatch after the other, on the generator's device; `torch.split` takes them apart.
    sizes : list of int
        See `batch_sizes`.
    """
    sizes = batch_sizes(samples, settings.batch_size)
    orders = [torch.randperm(samples, generator=generator, device=generator.device) for _ in range(settings.epochs)]
    return torch.cat(orders) if len(orders) > 1 else orders[0], sizes * settings.epochs


def shuffled(samples: int, settings: TrainingSettings, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the rows of one minibatch after the other, int64 on the generator's device.

    Unlike in `minibatches`, an epoch is shuffled when it begins: what the epochs before drew comes first.
    """
    sizes = batch_sizes(samples, settings.batch_size)
    for _ in range(settings.epochs):
        yield from torch.split(torch.randperm(samples, generator=generator, device=generator.device), sizes)


def fit(
    loss: Loss,
    networks: Sequence[nn.Module],
    inputs: Tensor,
    targets: Tensor,
    *,
    settings: TrainingSettings,
    generator: torch.Generator,
    optimizer: Optimizer | None = None,
) -> float:
    """Train networks for the epochs of the settings, in training mode; they are in evaluation mode afterwards.

    Parameters
    ----------
    loss : callable
        Mean loss of a batch: (inputs, targets) -> scalar tensor.
    networks : sequence of nn.Module
        Changed in place.
    inputs : Tensor, shape (samples, ...)
        Resident on the device of the networks.
    targets : Tensor, shape (samples, ...)
    settings : TrainingSettings
    generator : torch.Generator
        Shuffles the samples, once an epoch, and gives dropout its masks; on the device of `inputs`.
    optimizer : Optimizer, optional
        Of the networks' parameters, in their order; a fresh one if left out.

    Returns
    -------
    float
        Mean loss over all samples and epochs, taken while training.
    """
    parameters = [parameter for network in networks for parameter in network.parameters()]
    chosen = optimizer or make_optimizer(settings, parameters)

    def step(batch: Tensor, target: Tensor) -> Tensor:
        value = loss(batch, target)
        chosen.step(torch.autograd.grad(value, parameters))
        return value.detach()

    with learning(*networks, generator=generator):
        return repeat(step, inputs, targets, settings=settings, generator=generator)


def mean_loss(losses: Sequence[Tensor], sizes: Sequence[int]) -> float:
    """Return the mean over samples of minibatches' mean losses, scalars, given the minibatches' sizes."""
    return float(sum(map(operator.mul, torch.stack(list(losses)).tolist(), sizes)) / sum(sizes))


def repeat(
    step: Step, inputs: Tensor, targets: Tensor, *, settings: TrainingSettings, generator: torch.Generator
) -> float:
    """Take a step on every minibatch of every epoch: (inputs, targets) -> mean loss before it; the rest as in `fit`."""
    losses = [
        step(inputs.index_select(0, rows), targets.index_select(0, rows))  # a shuffled copy of all would cost far more
        for rows in shuffled(len(inputs), settings, generator)
    ]
    return mean_loss(losses, batch_sizes(len(inputs), settings.batch_size) * settings.epochs)
