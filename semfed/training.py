"""The local loop: tensors in, tensors out. It knows neither Flower nor files."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from semfed.errors import ScenarioError
from semfed.optimizers import make_optimizer
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
        A single sample that is left over joins the minibatch before it, since batch normalisation cannot train on one.
    """
    full, rest = divmod(samples, settings.batch_size)
    sizes = [settings.batch_size] * full
    if rest == 1 and full:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    orders = [torch.randperm(samples, generator=generator, device=generator.device) for _ in range(settings.epochs)]
    return torch.cat(orders) if len(orders) > 1 else orders[0], sizes * settings.epochs


def fit(
    loss: Loss,
    parameters: Sequence[nn.Parameter],
    inputs: Tensor,
    targets: Tensor,
    *,
    settings: TrainingSettings,
    generator: torch.Generator,
) -> float:
    """Train for the epochs of the settings with a fresh optimiser.

    Parameters
    ----------
    loss : callable
        Mean loss of a batch: (inputs, targets) -> scalar tensor.
    parameters : sequence of nn.Parameter
        Changed in place.
    inputs : Tensor, shape (samples, ...)
        Resident on the device of the parameters.
    targets : Tensor, shape (samples, ...)
    settings : TrainingSettings
    generator : torch.Generator
        Shuffles the samples, once an epoch; on the device of `inputs`.

    Returns
    -------
    float
        Mean loss over all samples and epochs, taken while training.
    """
    optimizer = make_optimizer(settings, parameters)

    def step(batch: Tensor, target: Tensor) -> Tensor:
        value = loss(batch, target)
        optimizer.step(torch.autograd.grad(value, parameters))
        return value.detach()

    return repeat(step, inputs, targets, settings=settings, generator=generator)


def repeat(
    step: Step, inputs: Tensor, targets: Tensor, *, settings: TrainingSettings, generator: torch.Generator
) -> float:
    """Take a step on every minibatch of every epoch: (inputs, targets) -> mean loss before it; the rest as in `fit`."""
    total = torch.zeros((), device=inputs.device, dtype=torch.float64)
    for _ in range(settings.epochs):
        order = torch.randperm(len(inputs), generator=generator, device=inputs.device)
        for rows in torch.split(order, settings.batch_size):  # a shuffled copy of all inputs would cost far more
            value = step(inputs.index_select(0, rows), targets.index_select(0, rows))
            total.add_(value, alpha=len(rows))
    return float(total) / (settings.epochs * len(inputs))
