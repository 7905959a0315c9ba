"""The local loop: tensors in, tensors out. It knows neither Flower nor files."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from semfed.errors import ScenarioError
from semfed.models.dropout import Dropout
from semfed.optimizers import Optimizer, make_optimizer
from semfed.scenario import TrainingSettings

Loss = Callable[[Tensor, Tensor], Tensor]
Step = Callable[[Tensor, Tensor], Tensor]


def pick_device(name: str) -> torch.device:
    """Return the device that a scenario asks for.

    Parameters
    ----------
    name : str
        ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:n``.

    Raises
    ------
    ScenarioError
        If a GPU is asked for that is not there.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if count else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ScenarioError(
            f"training.device = {name!r}: this machine offers {count} GPUs to torch; set training.device to 'auto'"
        )
    return device


@contextmanager
def learning(*networks: nn.Module, generator: torch.Generator | None = None) -> Iterator[None]:
    """Put networks into training mode for as long as they learn; at rest they are in evaluation mode.

    So a network that anybody borrows, tests or keeps never changes its running statistics and never draws a mask.

    Parameters
    ----------
    *networks : nn.Module
    generator : torch.Generator, optional
        Where dropout draws from; without one, whoever trains has to name it for every step.
    """
    modules = [module for network in networks for module in network.modules()]  # walked once: it takes a while
    _put(modules, generator, learns=True)
    try:
        yield
    finally:
        _put(modules, None, learns=False)


def _put(modules: Sequence[nn.Module], generator: torch.Generator | None, *, learns: bool) -> None:
    for module in modules:
        if type(module).train is nn.Module.train:
            vars(module)["training"] = learns  # what nn.Module does in the end, after it has asked what it may be
        else:  # one that has a say in it, such as a part that stays as it is
            module.train(learns)
        if isinstance(module, Dropout):
            module.generator = generator


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


def repeat(
    step: Step, inputs: Tensor, targets: Tensor, *, settings: TrainingSettings, generator: torch.Generator
) -> float:
    """Take a step on every minibatch of every epoch: (inputs, targets) -> mean loss before it; the rest as in `fit`."""
    total = torch.zeros((), device=inputs.device, dtype=torch.float64)
    sizes = batch_sizes(len(inputs), settings.batch_size)
    for _ in range(settings.epochs):
        order = torch.randperm(len(inputs), generator=generator, device=inputs.device)
        for rows in torch.split(order, sizes):  # a shuffled copy of all inputs would cost far more
            value = step(inputs.index_select(0, rows), targets.index_select(0, rows))
            total.add_(value, alpha=len(rows))
    return float(total) / (settings.epochs * len(inputs))
