"""Penultimate features of torchvision's classifiers, from weights that are on this machine already."""

import os
from pathlib import Path
from urllib.parse import urlparse

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate

from semfed.algorithms.alignment.latents.base import Encode, LatentContext, LatentSource, ReadySettings, in_batches
from semfed.data.dataset import standardise
from semfed.errors import DataError
from semfed.scenario import Scenario

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, on which the weights were trained."""
BATCH = 32


class TorchvisionLatents(LatentSource):
    """What a pretrained network's last linear layer gets.

    Nothing is ever downloaded: the weights must be where torchvision itself keeps them.
    """

    needs_root = False

    class Settings(ReadySettings):
        """Names of torchvision's models."""

        access_point: str = "vit_b_16"
        """The access point's model."""
        users: tuple[str, ...] = Field(min_length=1)
        """One a user, in their order."""
        size: int = Field(default=224, ge=1, le=4096)
        """Width and height to which images are scaled, in pixels."""

        def check(self, scenario: Scenario) -> None:
            """Refuse fewer or more models than users."""
            users = len(scenario.clients)
            if len(self.users) != users:
                raise ValueError(f"latents.users names {len(self.users)} models for {users} users: name one each")

    def __init__(self, settings: Settings, place: LatentContext) -> None:
        super().__init__(settings, place)
        self.settings = settings

    def require(self) -> None:
        """Look for the weights of all networks."""
        for name in dict.fromkeys((self.settings.access_point, *self.settings.users)):
            weights_of(name)

    def encoder(self, owner: int | None) -> Encode:
        """Load a network and return it without its last layer; owner as in the base class."""
        network = load_network(self.settings.access_point if owner is None else self.settings.users[owner])
        network = network.to(self.place.device)

        def encode(images: Tensor) -> Tensor:
            size = (self.settings.size, self.settings.size)
            pixels = standardise(images.expand(-1, 3, -1, -1).to(self.place.device), MEAN, STD)
            latents: Tensor = network(interpolate(pixels, size, mode="bilinear", antialias=True))
            return latents

        dataset = self.place.dataset
        return lambda rows: in_batches(
            encode, dataset.test.images if rows is None else dataset.train.images[rows], BATCH
        )


def weights_of(name: str) -> Path:
    """Return the file of a network's weights.

    Raises
    ------
    DataError
        If torchvision does not know the network, or its weights are not here.
    """
    from torchvision.models import get_model_weights

    try:
        url = get_model_weights(name).DEFAULT.url
    except ValueError as error:
        raise DataError(f"latents: torchvision has no model {name!r} ({error})") from error
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if not os.path.isfile(path):
        raise DataError(f"latents: the weights of {name!r} are not here: put {url} to '{path}'")
    return path


def load_network(name: str) -> nn.Module:
    """Return a pretrained network whose last linear layer passes its input on; errors as in `weights_of`."""
    from torchvision.models import get_model

    path = weights_of(name)
    network: nn.Module = get_model(name, weights=None)
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    last = [key for key, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    network.set_submodule(last, nn.Identity())
    return network.eval()
