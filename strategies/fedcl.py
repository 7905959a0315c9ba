"""FedCL: split training in which features are pulled to centroids that a generator learns by contrast.

Source: "Federated Contrastive Learning for Personalized Semantic Communication" (arXiv 2406.09182), Algorithm 1.
"""

from collections.abc import Iterator
from logging import WARNING
from typing import Annotated

import torch
from flwr.common import log
from pydantic import Field

from semfed import seeding
from semfed.algorithms.contrastive import CentroidGenerator, Centroids, Mode, generator_loss
from semfed.checkpoint.files import Arrays
from semfed.flower.trial import Trial
from semfed.scenario import Scenario, TrainingSettings
from semfed.scenario.settings import only_when
from semfed.training import weights
from semfed.training.optimizers import make_optimizer

from .split import SplitSettings, SplitStrategy


class FedCL(SplitStrategy):
    """Generate the global centroids with a network of the server (the SCG) that is trained after every round.

    Parameters
    ----------
    trial : Trial
    settings : FedCL.Settings
    """

    class Settings(SplitSettings):
        """Regulariser and centroid generator."""

        lambda_ms: Annotated[float, Field(ge=0)] = 5.0
        """Weight of the mean square distance between features and centroids."""
        scg_mode: Mode = "normalised"
        """Centroids of the norm of a feature and cosine similarities; or eq. (9) as it is printed, held within that
        norm because the loss has no lower bound."""
        scg_temperature: Annotated[float, Field(gt=0), only_when(scg_mode="normalised")] = 0.5
        """Of the cosine similarities."""
        scg_steps: Annotated[int, Field(ge=0)] = 5
        """Full-batch steps after every round."""
        scg_lr: Annotated[float, Field(gt=0, title="learning rate of the centroid generator")] = 0.001
        """Learning rate of the generator's Adam."""

        def idle(self, scenario: Scenario, here: str) -> Iterator[tuple[str, str]]:
            """Tell what has no effect; see `semfed.scenario.effects`."""
            yield from super().idle(scenario, here)
            if not self.scg_steps:
                yield f"{here}.scg_lr", "with scg_steps = 0 the generator is not trained"
                yield f"{here}.scg_temperature", "with scg_steps = 0 the generator is not trained"

    def __init__(self, trial: Trial, settings: Settings) -> None:
        super().__init__(trial, settings)
        self.settings = settings
        with seeding.initialisation(trial.seed, "scg"):
            self.generator = CentroidGenerator(self.classes, self.features, settings.scg_mode).to(self.device)
        training = TrainingSettings(optimizer="adam", lr=settings.scg_lr)
        self.generator_optimizer = make_optimizer(training, list(self.generator.parameters()))
        if settings.scg_mode == "literal":
            log(WARNING, "scg_mode 'literal': eq. (9) has no lower bound, so centroids end on the border of their ball")

    def centroids(self) -> Centroids:
        """Return the generated centroids; those of the first round come from the untrained generator."""
        with torch.no_grad():
            values = self.generator()
        return Centroids(values, torch.ones(self.classes, device=self.device))

    def learn(self, local: list[Centroids]) -> None:
        """Train the generator on the local centroids, eq. (8)."""
        parameters = list(self.generator.parameters())
        mode, temperature = self.settings.scg_mode, self.settings.scg_temperature
        for _ in range(self.settings.scg_steps):
            loss = generator_loss(local, self.generator(), mode=mode, temperature=temperature)
            self.generator_optimizer.step(torch.autograd.grad(loss, parameters))

    def learned(self) -> Arrays:
        """Return decoders, generator and all optimisers."""
        generator = weights.of(self.generator, "scg/")
        return super().learned() | generator | weights.to_arrays(self.generator_optimizer.state(), "scg-optimizer/")

    def state(self) -> Arrays:
        """Return nothing more: `aggregate_train` returns all that is `learned`."""
        return {}

    def restore(self, arrays: Arrays, state: Arrays | None = None) -> None:
        """Go on from what `learned` returned."""
        super().restore(arrays, state)
        weights.restore(self.generator, arrays, "scg/")
        self.generator_optimizer.load_state(weights.to_tensors(arrays, "scg-optimizer/"))
