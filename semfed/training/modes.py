"""Training and evaluation mode of networks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from semfed.models.layers.dropout import Dropout


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
