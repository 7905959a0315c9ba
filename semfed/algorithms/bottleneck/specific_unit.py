"""One specific unit (SU) with its decoder: objective, training and evaluation. Tensors in, tensors out.

Source: "Semantic Communication for Cooperative Multi-Tasking Over Rate-Limited Wireless Channels With Implicit
Optimal Prior", section II-C and algorithm 3.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from semfed import training
from semfed.algorithms.bottleneck import closed_form, density_ratio, priors
from semfed.algorithms.bottleneck.rate import rate
from semfed.channels import Channel, ChannelState, Meter
from semfed.models.layers.gaussian import GaussianEncoder, sample
from semfed.scenario import Scenario, TrainingSettings
from semfed.scenario.settings import StrictModel, only_when
from semfed.training.decisions import balanced_scores
from semfed.training.judging import Judge, scored
from semfed.training.losses import decide, decision_loss, error_rate
from semfed.training.optimizers import Optimizer

Source = Callable[[Tensor, torch.Generator], Tensor]
"""From stored inputs and a generator to what the unit sees: a fresh draw of the common unit's c, or the image."""


class RatioSettings(StrictModel):
    """The density-ratio estimator."""

    method: Literal["mixture", "logistic"] = "mixture"
    """The mixture of the encoder's Gaussians, or the paper's logistic regression on draws; see `density_ratio`."""
    centres: int = Field(default=300, ge=2)
    """Components of the mixture, or kernels, at random places of the pooled sample."""
    samples: Annotated[int, only_when(method="logistic")] = Field(default=2000, ge=2)
    """``logistic``: draws from the encoder, and as many from N(0, I)."""
    bandwidth: Annotated[Literal["median"] | Annotated[float, Field(gt=0)], only_when(method="logistic")] = "median"
    """``logistic``: the median distance of the pooled sample, or a fixed width."""
    gamma: Annotated[float, only_when(method="logistic")] = Field(default=1 / 3, gt=0)
    """``logistic``: weight of eq. (17)'s penalty."""


class RateSettings(StrictModel):
    """What the rate costs a specific unit in its objective."""

    prior: Literal["implicit", "gaussian", "log-uniform", "mixture"] = "implicit"
    """From which the rate counts; see `semfed.algorithms.bottleneck.priors`."""
    dre_grad: Annotated[Literal["path", "detach"], only_when(prior="implicit")] = "path"
    """Of the implicit prior; see `semfed.algorithms.bottleneck.priors.implicit`."""
    alpha: Annotated[priors.Alpha, only_when(prior="log-uniform")] = "paper"
    """Of the log-uniform prior; see `semfed.algorithms.bottleneck.priors.log_uniform`."""
    lambda_eff: float = Field(default=0.01, ge=0, title="weight λ of the rate")
    """Weight of the rate in nats per sample, against the cross-entropy in nats per sample. The published code
    multiplies a batch sum: its lambda is `lambda_eff` over the batch size."""
    dre: RatioSettings = RatioSettings()
    """The estimator of priors ``implicit`` and ``mixture``."""

    def idle(self, scenario: Scenario, here: str) -> Iterator[tuple[str, str]]:
        """Tell what has no effect; see `semfed.scenario.effects`."""
        if not self.lambda_eff:
            for name in ("prior", "dre_grad", "alpha", *(f"dre.{name}" for name in RatioSettings.model_fields)):
                yield f"{here}.{name}", "lambda_eff = 0 charges nothing for the rate"
            return
        for name in RatioSettings.model_fields:
            if self.prior not in ("implicit", "mixture"):
                yield f"{here}.dre.{name}", f"prior '{self.prior}' estimates no density ratio"


@dataclass(frozen=True)
class Link:
    """A specific unit's encoder, its channel and its receiver's decoder."""

    encoder: GaussianEncoder
    channel: Channel
    decoder: nn.Module

    def parameters(self) -> list[nn.Parameter]:
        """Return what is trained."""
        return [*self.encoder.parameters(), *self.decoder.parameters()]


def penalty(
    link: Link,
    source: Source,
    inputs: Tensor,
    settings: RateSettings,
    generator: torch.Generator,
    start: Tensor | None = None,
) -> tuple[priors.Penalty, Tensor | None]:
    """Make the rate's penalty for the encoder as it is now.

    Parameters
    ----------
    link : Link
    source : callable
    inputs : Tensor, shape (samples, ...)
    settings : RateSettings
    generator : torch.Generator
        If it is the same stream in every epoch, the centres move only as far as the encoder does.
    start : Tensor, shape (centres + 1,), optional
        Where the density-ratio estimator's fit starts: what the last call returned.

    Returns
    -------
    penalty : callable
        See `semfed.algorithms.bottleneck.priors`.
    start : Tensor or None
        For the next call; None if there is nothing to fit.
    """
    if settings.prior == "gaussian":
        return priors.standard_normal(), None
    if settings.prior == "log-uniform":
        return priors.log_uniform(settings.alpha, link.channel.settings.noise_std**2), None
    dre = settings.dre
    uses_encoder = settings.prior == "mixture" or dre.method == "mixture"
    with torch.no_grad():
        order = torch.randperm(len(inputs), generator=generator, device=inputs.device)
        rows = order[: dre.centres if uses_encoder else dre.samples]
        mean, log_variance = link.encoder(source(inputs[rows], generator))
        if settings.prior == "mixture":
            return priors.mixture(mean, log_variance), None
        if dre.method == "mixture":
            return priors.implicit(density_ratio.MixtureRatio(mean, log_variance), settings.dre_grad), None
        p = sample(mean, log_variance, generator)
        q = torch.randn(p.shape, generator=generator, device=p.device)
        pooled = torch.cat([p, q])
        places = torch.randperm(len(pooled), generator=generator, device=p.device)[: dre.centres]
        width = None if dre.bandwidth == "median" else dre.bandwidth
        fitted = density_ratio.fit(p, q, pooled[places], bandwidth=width, gamma=dre.gamma, start=start)
    weights = torch.cat([fitted.weights, fitted.intercept[None]])
    return priors.implicit(fitted.to(p.dtype), settings.dre_grad), weights


def train(
    link: Link,
    source: Source,
    inputs: Tensor,
    values: Tensor,
    *,
    cost: priors.Penalty,
    weight: float,
    settings: TrainingSettings,
    generator: torch.Generator,
    optimizer: Optimizer | None = None,
) -> tuple[float, int]:
    """Train encoder and decoder: cross-entropy + weight x penalty, both means over the batch in nats, eq. (20).

    `optimizer` is of their parameters, encoder before decoder, a fresh one if left out.

    Returns
    -------
    loss : float
        Mean over samples and epochs, taken while training.
    uses : int
        Channel uses of all transmissions.
    """
    state = ChannelState(generator)
    unit = closed_form.Unit.of(link.encoder, link.channel, link.decoder)
    if unit is not None and isinstance(cost, priors.NormalPrior) and settings.plain_sgd:
        step = closed_form.descent(unit, source, link.channel, state, cost, weight, settings.lr)
        return training.repeat(step, inputs, values, settings=settings, generator=generator), state.uses

    def loss(batch: Tensor, target: Tensor) -> Tensor:
        mean, log_variance = link.encoder(source(batch, generator))
        x = sample(mean, log_variance, generator)
        decided = decision_loss(link.decoder(link.channel(x, state)), target)
        return decided + weight * cost(x, mean, log_variance).mean()

    networks = [link.encoder, link.decoder]
    mean_loss = training.fit(
        loss, networks, inputs, values, settings=settings, generator=generator, optimizer=optimizer
    )
    return mean_loss, state.uses


@torch.no_grad()
def evaluate(
    link: Link,
    source: Source,
    inputs: Tensor,
    values: Tensor,
    *,
    rate_samples: int,
    generator: torch.Generator,
    meter: Meter | None = None,
    judges: Mapping[str, Judge] | None = None,
) -> tuple[dict[str, float], int]:
    """Decide all samples through the noisy channel, and estimate the rate.

    Parameters
    ----------
    link, source, inputs, values
        As in `train`; one transmission a sample.
    rate_samples : int
        How many of the samples estimate the rate; all are components of the mixture.
    generator : torch.Generator
    meter : Meter, optional
        Measures the transmission.
    judges : mapping of str to callable, optional
        Further scores of the decisions, by name.

    Returns
    -------
    metrics : dict
        Those of `judges`; ``error``, ``balanced-accuracy`` and ``f1``, fractions; ``rate`` in nats per sample and its
        bounds ``rate-lower`` and ``rate-upper``, see `semfed.algorithms.bottleneck.rate.RateBounds`; ``loss``, the
        cross-entropy in nats.
    uses : int
    """
    state = ChannelState(generator, meter)
    mean, log_variance = link.encoder(source(inputs, generator))
    x = sample(mean, log_variance, generator)
    logits = link.decoder(link.channel(x, state))
    some = torch.randperm(len(x), generator=generator, device=x.device)[:rate_samples]
    sent = rate(x[some], some, mean, log_variance)
    metrics = {
        "error": error_rate(logits, values),
        **balanced_scores(decide(logits), values),
        **scored(logits, values, judges or {}),
        "rate": sent.estimate,
        "rate-lower": sent.lower,
        "rate-upper": sent.upper,
        "loss": float(decision_loss(logits, values)),
    }
    return metrics, state.uses
