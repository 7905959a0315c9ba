"""An aligned link as two modules: images to what is sent, and what is received to logits. Samples are rows here."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semfed.algorithms.alignment.baselines import LinearMap, ProjectionLink
from semfed.algorithms.alignment.pairing import Receiver, Sender
from semfed.algorithms.alignment.transmission import POWER
from semfed.algorithms.alignment.whitening import Whitening, to_complex, to_real


@dataclass(frozen=True)
class Matrices:
    """What stands between the access point's latents and the user's.

    Attributes
    ----------
    whitening : Whitening
    precoder : Tensor, shape (s, m)
    equalizer : Tensor, shape (mk, r)
        With the receiver's whitening undone.
    offset : Tensor, shape (mk, 1)
    width : int
        Real features that leave the equalizer.
    projection : Tensor, shape (q, d0), float64, optional
        Of the latents, before they are whitened.
    completion : LinearMap, optional
        From the features that leave the equalizer to the user's latents.
    """

    whitening: Whitening
    precoder: Tensor
    equalizer: Tensor
    offset: Tensor
    width: int
    projection: Tensor | None = None
    completion: LinearMap | None = None


def aligned(sender: Sender, precoder: Tensor, equalizer: Tensor, receiver: Receiver) -> Matrices:
    """Return the matrices of a precoder and a user's equalizer."""
    return Matrices(
        sender.whitening,
        precoder,
        receiver.whitening.factor @ equalizer,
        receiver.whitening.mean,
        len(receiver.pilots),
    )


def projected(ready: ProjectionLink) -> Matrices:
    """Return the matrices of First-K or Eigen-K, which complete what is not sent by its mean and map it to the user."""
    link, directions, alignment = ready.link, ready.directions, ready.alignment
    unsent = ready.mean - directions.T @ (directions @ ready.mean)
    return Matrices(
        link.whitening,
        link.precoder,
        link.whitening.factor @ link.equalizer,
        link.whitening.mean,
        len(directions),
        directions,
        LinearMap(alignment.weight @ directions.T, alignment(unsent)),
    )


def blank(
    latents: int, own: int, *, symbols: int, received: int, real: bool = False, projected: bool = False
) -> Matrices:
    """Return zeros of the shapes that the others have.

    Parameters
    ----------
    latents, own : int
        Widths of the access point's latents and of the user's.
    symbols, received : int
        Complex numbers that are sent and received a sample.
    real : bool, default False
        Whether signals are treated as pairs of reals.
    projected : bool, default False
        Whether it is a `ProjectionLink`.
    """
    sent = min(2 * symbols, latents) if projected else latents
    back = sent if projected else own
    m, mk = (width if real else (width + 1) // 2 for width in (sent, back))
    dtype, wide = (torch.float64, 2) if real else (torch.complex128, 1)

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(*shape, dtype=dtype)

    completion = LinearMap(torch.zeros(own, sent).double(), torch.zeros(own, 1).double())
    return Matrices(
        Whitening(zeros(m, 1), zeros(m, m)),
        zeros(wide * symbols, m),
        zeros(mk, wide * received),
        zeros(mk, 1),
        back,
        torch.zeros(sent, latents).double() if projected else None,
        completion if projected else None,
    )


class _Kept(nn.Module):
    """A module that keeps matrices; complex ones as pairs of reals, which every file format knows."""

    def keep(self, **matrices: Tensor | None) -> None:
        for name, matrix in matrices.items():
            if matrix is not None:
                self.register_buffer(name, torch.view_as_real(matrix) if matrix.is_complex() else matrix)

    def kept(self, name: str) -> Tensor | None:
        found: Tensor | None = getattr(self, name, None)
        return torch.view_as_complex(found) if found is not None and found.ndim == 3 else found

    def required(self, name: str) -> Tensor:
        found = self.kept(name)
        assert found is not None
        return found


class AccessPointHalf(_Kept):
    """From standardised images to what is sent, shape (batch, 2 s), float64, at unit power a symbol on average.

    Parameters
    ----------
    network : nn.Module
        The access point's encoder.
    matrices : Matrices
    symbols : int
        s.
    """

    def __init__(self, network: nn.Module, matrices: Matrices, symbols: int) -> None:
        super().__init__()
        self.network, self.scale = network, math.sqrt(symbols / POWER)
        whitening = matrices.whitening
        self.keep(
            projection=matrices.projection, mean=whitening.mean, factor=whitening.factor, precoder=matrices.precoder
        )

    def forward(self, images: Tensor) -> Tensor:
        """Encode, whiten and precode a batch."""
        latents, projection = self.network(images).flatten(1).float().T.double(), self.kept("projection")
        latents = latents if projection is None else projection @ latents
        precoder = self.required("precoder")
        features = to_complex(latents) if precoder.is_complex() else latents
        white = Whitening(self.required("mean"), self.required("factor")).apply(features)
        sent = precoder @ white
        symbols = sent if sent.is_complex() else to_complex(sent)
        return torch.view_as_real((self.scale * symbols).T.contiguous()).flatten(1)


class UserHalf(_Kept):
    """From what is received, shape (batch, 2 r), float64, to logits.

    Parameters
    ----------
    classifier : nn.Module
        The user's.
    matrices : Matrices
    symbols : int
        As for `AccessPointHalf`.
    """

    def __init__(self, classifier: nn.Module, matrices: Matrices, symbols: int) -> None:
        super().__init__()
        self.classifier, self.scale, self.width = classifier, math.sqrt(symbols / POWER), matrices.width
        completion = matrices.completion
        self.keep(
            equalizer=matrices.equalizer,
            offset=matrices.offset,
            weight=None if completion is None else completion.weight,
            intercept=None if completion is None else completion.intercept,
        )

    def forward(self, received: Tensor) -> Tensor:
        """Equalise, go back to the user's latents and classify them."""
        symbols = torch.view_as_complex(torch.unflatten(received / self.scale, 1, (-1, 2))).T
        equalizer = self.required("equalizer")
        signal = symbols if equalizer.is_complex() else to_real(symbols, 2 * len(symbols))
        features = equalizer @ signal + self.required("offset")
        latents = to_real(features, self.width) if features.is_complex() else features
        weight = self.kept("weight")
        if weight is not None:
            latents = LinearMap(weight, self.required("intercept"))(latents)
        logits: Tensor = self.classifier(latents.T.float())
        return logits
