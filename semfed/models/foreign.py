"""Any ``nn.Module`` as an encoder or decoder: torchvision's, another library's, or a user's own beside the scenario."""

import math
from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from semfed.errors import ScenarioError
from semfed.scenario.foreign import ForeignSettings, adapted, construct, is_foreign, keywords, name_of, reason
from semfed.scenario.offline import WouldFetch, offline


class ForeignModelSettings(ForeignSettings):
    """How another library's network is fitted to its place."""

    head: Literal["none", "flatten", "linear", "replace"] = "none"
    """What makes its output fit: nothing; one row of numbers a sample; a linear layer after it, as wide as channel uses
    or the task's values want it; or such a layer in the place of its last linear one."""
    download: bool = False
    """Whether it may fetch anything, such as weights, from the network while it is made."""


class ForeignModel:
    """A class or factory of networks, made of its keyword arguments; see `adapt`."""

    Settings: ClassVar[type[ForeignModelSettings]] = ForeignModelSettings
    part: ClassVar[Callable[..., Any]]

    def __init__(self, settings: ForeignModelSettings) -> None:
        self.settings = settings

    def build(self, input_shape: tuple[int, ...], outputs: int | None) -> nn.Module:
        """Make the network, fit its head, and try it on a batch of two; see `Model.build`.

        Raises
        ------
        ScenarioError
            If the part refuses its arguments, would fetch something without leave, cannot take such a batch, or gives
            out anything but rows of numbers, as many as `outputs` where that is decided.
        """
        network = self._fitted(self._made(), input_shape, outputs)
        shape = tuple(_tried(network, input_shape, self.part).shape)
        width = "rows of" if outputs is None else f"{outputs}"
        if len(shape) != 2 or outputs not in (None, shape[1]):
            raise ScenarioError(
                f"model {name_of(self.part)} gives out {shape} for two samples instead of {width} numbers each: set "
                "its arguments, or head = 'flatten', 'linear' or 'replace'"
            )
        _tried(deepcopy(network).train(), input_shape, self.part)  # some give out other things while they train
        return network

    def _made(self) -> nn.Module:
        try:
            with offline(allowed=self.settings.download):
                return construct(self.part, keywords(self.settings, ForeignModelSettings), nn.Module).eval()
        except WouldFetch as wanted:
            place = Path(torch.hub.get_dir()) / "checkpoints"
            raise ScenarioError(
                f"model {name_of(self.part)} would fetch {wanted}: allow it with download = true beside its name, "
                f"leave its weights out, or put the file into '{place}'"
            ) from None

    def _fitted(self, network: nn.Module, input_shape: tuple[int, ...], outputs: int | None) -> nn.Module:
        head = self.settings.head
        if head == "none":
            return network
        if head == "flatten":
            return nn.Sequential(network, nn.Flatten())
        if outputs is None:
            raise ScenarioError(
                f"model {name_of(self.part)}: head = {head!r} fits no width here: set channel.uses or another head"
            )
        if head == "linear":
            flat = nn.Sequential(network, nn.Flatten())
            features = math.prod(_tried(flat, input_shape, self.part).shape[1:])
            return nn.Sequential(*flat, nn.Linear(features, outputs))
        linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise ScenarioError(f"model {name_of(self.part)}: head = 'replace' finds no linear layer: take 'linear'")
        last: Any = network.get_submodule(linear[-1])
        fitting = nn.Linear(last.in_features, outputs, bias=last.bias is not None)
        if not linear[-1]:  # the network is that layer
            return fitting
        network.set_submodule(linear[-1], fitting)
        return network


@torch.no_grad()
def _tried(network: nn.Module, input_shape: tuple[int, ...], part: Any) -> Tensor:
    """Return what a network makes of two samples."""
    try:
        made = network(torch.zeros(2, *input_shape))
    except Exception as error:
        raise ScenarioError(
            f"model {name_of(part)} cannot take a batch of shape {(2, *input_shape)} ({reason(error)}): set its "
            "arguments, or name another"
        ) from error
    if not isinstance(made, Tensor) or not made.is_floating_point():
        kind = f"a tensor of {made.dtype}" if isinstance(made, Tensor) else f"a {type(made).__name__}"
        mode = "while it trains" if network.training else "for a batch"
        raise ScenarioError(
            f"model {name_of(part)} gives out {kind} {mode} instead of real numbers: wrap it in a class"
        )
    return made


def adapt(part: Any) -> Any:
    """Return a model plugin of a module's class or of a factory; anything else, such as a plugin, as it is.

    Raises
    ------
    ScenarioError
        If it has an argument that no scenario can give, or is a function that does not say what it makes.
    """
    return _adapted(part) if is_foreign(part, nn.Module, "build") else part


@lru_cache(maxsize=256)
def _adapted(part: Any) -> type[ForeignModel]:
    return adapted(part, ForeignModel, ForeignModelSettings)
