"""A third-party strategy of Flower's kind that judges its arguments."""

from typing import Any

from flwr.serverapp.strategy import FedAvg


class Picky(FedAvg):
    """It has no ``Settings``: its keyword arguments are its settings."""

    def __init__(self, fraction_train: float = 1.0, level: int = 1, **kwargs: Any) -> None:
        if level > 2:
            raise ValueError(f"level {level} is too high")
        super().__init__(fraction_train=fraction_train, **kwargs)
        self.level = level
