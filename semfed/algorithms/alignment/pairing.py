"""What both ends know once they have encoded the same pilots: white features and their correlation."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from semfed.algorithms.alignment.updates import UserStatistics
from semfed.algorithms.alignment.whitening import Whitening, fit_whitening, to_complex, to_real
from semfed.errors import DataError

TargetWhitening = Literal["full", "scale"]


@dataclass(frozen=True)
class Options:
    """How latents become the features that are aligned.

    Attributes
    ----------
    target_whitening : {"full", "scale"}
        Whiten the users' latents, or only scale them to mean variance 1, so that errors count where latents vary.
    widely_linear : bool
        Treat all as real: signals and their conjugates may then be combined.
    ridge : float
        See `fit_whitening`.
    """

    target_whitening: TargetWhitening = "full"
    widely_linear: bool = False
    ridge: float = 0.0

    def features(self, z: Tensor) -> Tensor:
        """Return latents, shape (d, samples), as features: complex pairs, or the reals themselves."""
        return z if self.widely_linear else to_complex(z)


@dataclass(frozen=True)
class Sender:
    """The access point's side.

    Attributes
    ----------
    pilots : Tensor, shape (d0, n), float64
    whitening : Whitening
    white : Tensor, shape (m, n)
        X.
    """

    pilots: Tensor
    whitening: Whitening
    white: Tensor


@dataclass(frozen=True)
class Receiver:
    """A user's side.

    Attributes
    ----------
    pilots : Tensor, shape (dk, n), float64
    whitening : Whitening
    correlation : Tensor, shape (mk, m)
        R_k = Y_k X^H / (n - 1).
    energy : float
        ||Y_k||^2 / (n - 1).
    """

    pilots: Tensor
    whitening: Whitening
    correlation: Tensor
    energy: float


def make_sender(pilots: Tensor, options: Options) -> Sender:
    """Whiten the access point's latents of the pilots; errors as in `fit_whitening`."""
    features = options.features(pilots)
    whitening = fit_whitening(features, owner="the access point", ridge=options.ridge)
    return Sender(pilots, whitening, whitening.apply(features))


def make_receiver(sender: Sender, pilots: Tensor, options: Options, *, owner: str) -> Receiver:
    """Whiten or scale a user's latents of the same pilots, and correlate them with the access point's.

    Raises
    ------
    DataError
        If the numbers of pilots differ, and as in `fit_whitening`.
    """
    count = sender.pilots.shape[1]
    if pilots.shape[1] != count:
        raise DataError(
            f"{owner} has latents of {pilots.shape[1]} pilots and the access point of {count}: both must encode the "
            "same images in the same order"
        )
    features = options.features(pilots)
    full = options.target_whitening == "full"
    whitening = fit_whitening(features, owner=owner, full=full, ridge=options.ridge)
    white = whitening.apply(features)
    energy = float(torch.linalg.vector_norm(white).square()) / (count - 1)
    return Receiver(pilots, whitening, white @ sender.white.mH / (count - 1), energy)


def user_statistics(receiver: Receiver, response: Tensor, noise: float, options: Options) -> UserStatistics:
    """Join a user's statistics with its channel.

    Parameters
    ----------
    response : Tensor, shape (r, s), complex128
    noise : float
        Variance per received complex symbol.
    """
    if options.widely_linear:
        return UserStatistics(receiver.correlation, receiver.energy, real_matrix(response), noise / 2)
    return UserStatistics(receiver.correlation, receiver.energy, response, noise)


def real_matrix(matrix: Tensor) -> Tensor:
    """Return the real form of a complex matrix: it acts on real parts stacked over imaginary parts."""
    return torch.cat([torch.cat([matrix.real, -matrix.imag], 1), torch.cat([matrix.imag, matrix.real], 1)])


def as_symbols(sent: Tensor, options: Options) -> Tensor:
    """Return what a precoder gives out, F x, as complex symbols, shape (s, samples)."""
    return to_complex(sent) if options.widely_linear else sent


def recover(received: Tensor, equalizer: Tensor, receiver: Receiver, options: Options) -> Tensor:
    """Return a user's latents from what it received: equalise, undo its whitening, back to reals.

    Parameters
    ----------
    received : Tensor, shape (r, samples), complex128
    equalizer : Tensor, shape (mk, r), or its real form (mk, 2 r)

    Returns
    -------
    Tensor, shape (dk, samples), float64
    """
    width = len(receiver.pilots)
    if options.widely_linear:
        received = to_real(received, 2 * len(received))
    # L G is small; L (G y) would be a large product over all samples
    features = (receiver.whitening.factor @ equalizer) @ received + receiver.whitening.mean
    return features if options.widely_linear else to_real(features, width)
