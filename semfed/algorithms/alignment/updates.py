"""One round of alignment: what a user solves, and what the access point makes of the answers.

Every user k minimises ||Y_k - G_k H_k F X||^2 / (n - 1) + sigma_k^2 ||G_k||^2 over its equalizer G_k; the access point
minimises the mean over users over the shared precoder F, subject to tr(F F^H) <= P. The pilots enter only through
R_k = Y_k X^H / (n - 1), because X is white.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

PRECISION = 1e-13
"""Relative, of the multiplier that keeps the power."""


@dataclass(frozen=True)
class UserStatistics:
    """All that a user needs to know.

    Attributes
    ----------
    correlation : Tensor, shape (mk, m)
        R_k.
    energy : float
        ||Y_k||^2 / (n - 1): mk where the user's latents are white.
    response : Tensor, shape (r, s)
        H_k, all uses of the channel.
    noise : float
        sigma_k^2, variance of every received number.
    """

    correlation: Tensor
    energy: float
    response: Tensor
    noise: float


def equalizer(link: UserStatistics, precoder: Tensor) -> Tensor:
    """Return the best G_k for a precoder: R_k (H F)^H (H F F^H H^H + sigma^2 I)^-1, shape (mk, r)."""
    through = link.response @ precoder
    gram = through @ through.mH + link.noise * torch.eye(len(through), dtype=through.dtype)
    return solve(gram, through @ link.correlation.mH).mH


def user_step(link: UserStatistics, equalizer_: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a user tells: A_k = M^H M, shape (s, s), and D_k = M^H R_k, shape (s, m), with M = G_k H_k."""
    seen = equalizer_ @ link.response
    return seen.mH @ seen, seen.mH @ link.correlation


def objective(link: UserStatistics, precoder: Tensor, equalizer_: Tensor) -> float:
    """Return the user's part of J: the expected squared error of its white latents."""
    chain = equalizer_ @ link.response @ precoder
    match = (chain.conj() * link.correlation).sum().real
    return float(link.energy - 2 * match + square(chain) + link.noise * square(equalizer_))


def square(matrix: Tensor) -> Tensor:
    """Squared Frobenius norm."""
    norm: Tensor = torch.linalg.vector_norm(matrix)
    return norm.square()


def solve(hermitian: Tensor, right: Tensor) -> Tensor:
    """Solve with a positive semidefinite matrix; where it is singular, in the least-squares sense."""
    factor, failed = torch.linalg.cholesky_ex(hermitian)
    if not failed:
        return torch.cholesky_solve(right, factor)
    inverse: Tensor = torch.linalg.pinv(hermitian, hermitian=True)
    return inverse @ right


def into_ball(precoder: Tensor, power: float) -> Tensor:
    """Scale a precoder down to tr(F F^H) <= P where it is above."""
    excess = float(square(precoder)) / power
    return precoder / excess**0.5 if excess > 1 else precoder


@dataclass(frozen=True)
class Consensus:
    """What the access point keeps from round to round; all of shape (s, m).

    Attributes
    ----------
    precoder : Tensor
        F, what users answer to.
    feasible : Tensor
        Z, the copy within the power ball: what is transmitted with.
    dual : Tensor
        Up, scaled.
    """

    precoder: Tensor
    feasible: Tensor
    dual: Tensor

    @classmethod
    def begin(cls, precoder: Tensor) -> "Consensus":
        """Start from a precoder with Z = Up = 0."""
        return cls(precoder, torch.zeros_like(precoder), torch.zeros_like(precoder))

    def residuals(self, before: "Consensus", rho: float) -> tuple[float, float]:
        """Return the primal residual ||F - Z|| and the dual one rho ||Z - Z_before||."""
        primal = torch.linalg.vector_norm(self.precoder - self.feasible)
        return float(primal), rho * float(torch.linalg.vector_norm(self.feasible - before.feasible))

    def tolerances(self, rho: float, absolute: float, relative: float) -> tuple[float, float]:
        """Return what the primal and the dual residual must fall below.

        absolute sqrt(s m) + relative max(||F||, ||Z||), and absolute sqrt(s m) + relative rho ||Up||: S. Boyd et al.,
        "Distributed Optimization and Statistical Learning via the Alternating Direction Method of Multipliers" (2011),
        section 3.3.1.
        """
        floor = absolute * math.sqrt(self.precoder.numel())
        sent, kept, dual = (float(torch.linalg.vector_norm(m)) for m in (self.precoder, self.feasible, self.dual))
        return floor + relative * max(sent, kept), floor + relative * rho * dual

    def settled(self, before: "Consensus", rho: float, absolute: float, relative: float) -> bool:
        """Say whether both residuals are below their tolerances; with both of these 0 they never are."""
        pairs = zip(self.residuals(before, rho), self.tolerances(rho, absolute, relative), strict=True)
        return all(residual < tolerance for residual, tolerance in pairs)


def admm_precoder(state: Consensus, gram: Tensor, match: Tensor, rho: float) -> Tensor:
    """Return F = (A + rho I)^-1 (rho (Z - Up) + D) for A = `gram` and D = `match`."""
    regular = gram + rho * torch.eye(len(gram), dtype=gram.dtype)
    return solve(regular, rho * (state.feasible - state.dual) + match)


def admm_step(state: Consensus, precoder: Tensor, power: float) -> Consensus:
    """Take a new F: Z = F + Up scaled into the power ball, then Up += F - Z."""
    feasible = into_ball(precoder + state.dual, power)
    return Consensus(precoder, feasible, state.dual + precoder - feasible)


def bcd_precoder(gram: Tensor, match: Tensor, power: float) -> Tensor:
    """Return the best F for fixed equalizers: (A + lam I)^-1 D with the smallest lam >= 0 that keeps the power."""
    values, vectors = torch.linalg.eigh(gram)
    turned = vectors.mH @ match
    reached = values > values.max() * len(values) * torch.finfo(values.dtype).eps
    curvature, strength = values.numpy(), turned.abs().square().sum(dim=1).numpy()
    strength = np.where(reached.numpy(), strength, 0.0)  # D has no part where A has none

    def spent(multiplier: float) -> float:
        return float(np.sum(strength / np.where(strength > 0, curvature + multiplier, 1.0) ** 2))

    low, high = 0.0, math.sqrt(strength.sum() / power)
    if spent(low) <= power:
        high = low
    while high - low > PRECISION * high:
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) > power else (low, middle)
    weights = torch.where(reached, 1 / (values + high), 0.0)
    return into_ball(vectors @ (weights[:, None] * turned), power)


def mean(matrices: Sequence[Tensor]) -> Tensor:
    """Average in the order given."""
    return torch.stack(tuple(matrices)).sum(dim=0) / len(matrices)
