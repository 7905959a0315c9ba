"""Parts as others write them: modules of torch alone, which know nothing of this package."""

import random
import urllib.request

import numpy as np
import torch
from torch import Tensor, nn


class Net(nn.Module):
    """An encoder like the built-in ``mlp`` with one hidden layer."""

    def __init__(self, inputs: int, hidden: int = 8, outputs: int = 4) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Headless(nn.Module):
    """Maps, whose arguments are named like settings of what surrounds them."""

    def __init__(self, head: int = 3, *, download: bool = False, scale: float | None = 2.0, mode: str = "") -> None:
        super().__init__()
        self.maps = nn.Conv2d(1, head, 3, padding=1)
        self.asked = (head, download, scale, mode)

    def forward(self, x: Tensor) -> Tensor:
        return self.maps(x)


class Tupled(nn.Flatten):
    """Gives out two things while it trains, as GoogLeNet does."""

    def forward(self, x: Tensor) -> Tensor:
        return (super().forward(x),) * 2 if self.training else super().forward(x)


class Drawn(nn.Module):
    """Weights from three global generators."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64, 4))
        with torch.no_grad():
            self.weight[0, 0] = float(np.random.standard_normal())  # noqa: NPY002
            self.weight[0, 1] = random.random()

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight


def pretrained(weights: str | None = None, url: str = "") -> nn.Module:
    """Make a network; fetch its weights from `url` if any are asked for."""
    if weights is not None:
        urllib.request.urlopen(url).read()
    return nn.Flatten()


def number(size: int = 1) -> int:
    return size


class Additive(nn.Module):
    """Noise from torch's global generator, of a power that follows the signal's."""

    def __init__(self, snr_db: float = 10.0) -> None:
        super().__init__()
        self.snr_db = snr_db

    def forward(self, x: Tensor) -> Tensor:
        power = x.abs().square().mean() * 10 ** (-self.snr_db / 10)
        return x + power.sqrt() * torch.randn_like(x)


class Turning(nn.Module):
    """Phase noise: multiplies complex symbols by exp(j phi), phi ~ N(0, sigma^2)."""

    def __init__(self, sigma: float = 0.1) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.polar(torch.ones(x.shape), self.sigma * torch.randn(x.shape))


class Deaf(nn.Module):
    """Refuses negative numbers, like a photon counter."""

    def forward(self, x: Tensor) -> Tensor:
        if x.mean() < 0:
            raise ValueError("negative intensity")
        return x * 0.5


class Counting(nn.Module):
    """Keeps how often it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + 0


class Unseeded(nn.Module):
    """Draws from a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(1)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn(x.shape, generator=self.generator)


class Quantised(nn.Module):
    """Lets no gradient pass."""

    def forward(self, x: Tensor) -> Tensor:
        return x.detach().round()


class Infinite(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 0


class Halved(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, ::2]
