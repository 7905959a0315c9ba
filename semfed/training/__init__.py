"""Local training, without Flower: the loop, the device, losses, optimisers and weights."""

from semfed.training.device import pick_device
from semfed.training.loop import batch_sizes, fit, mean_loss, minibatches, repeat, shuffled
from semfed.training.modes import learning

__all__ = ["batch_sizes", "fit", "learning", "mean_loss", "minibatches", "pick_device", "repeat", "shuffled"]
