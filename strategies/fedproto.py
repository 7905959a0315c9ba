"""FedProto over the same split: features are pulled to the clients' mean centroids.

Source: "FedProto: Federated Prototype Learning across Heterogeneous Clients" (AAAI 2022), as a baseline of
arXiv 2406.09182, and so with its split and its shared decoder.
"""

from typing import Annotated

import torch
from pydantic import Field

from semfed.algorithms.contrastive import Centroids, mean_centroids
from semfed.checkpoint.files import Arrays
from semfed.flower.trial import Trial
from semfed.training import weights

from .split import SplitSettings, SplitStrategy


class FedProto(SplitStrategy):
    """Let the global centroid of a class be the mean of its local ones, weighted by samples.

    There is none before the end of the first round; a class that nobody had in a round keeps its last one.

    Parameters
    ----------
    trial : Trial
    settings : FedProto.Settings
    """

    class Settings(SplitSettings):
        """Regulariser and decoders."""

        lambda_ms: Annotated[float, Field(ge=0)] = 1.0
        """Weight of the mean square distance between features and prototypes."""
        original: bool = False
        """Leave every client its own decoder, as FedProto has it."""

    def __init__(self, trial: Trial, settings: Settings) -> None:
        super().__init__(trial, settings)
        self.shared_decoder = not settings.original
        shape = (self.classes, self.features)
        self.prototypes = Centroids(torch.zeros(shape, device=self.device), torch.zeros(shape[0], device=self.device))

    def centroids(self) -> Centroids:
        """Return the prototypes of the last round."""
        return self.prototypes

    def learn(self, local: list[Centroids]) -> None:
        """Average the local centroids."""
        new = mean_centroids(local)
        values = torch.where(new.known.unsqueeze(1), new.values, self.prototypes.values)
        self.prototypes = Centroids(values, torch.where(new.known, new.counts, self.prototypes.counts))

    def learned(self) -> Arrays:
        """Return decoders, their optimisers and prototypes."""
        own = {"values": self.prototypes.values, "counts": self.prototypes.counts}
        return super().learned() | weights.to_arrays(own, "prototypes/")

    def state(self) -> Arrays:
        """Return nothing more: `aggregate_train` returns all that is `learned`."""
        return {}

    def restore(self, arrays: Arrays, state: Arrays | None = None) -> None:
        """Go on from what `learned` returned."""
        super().restore(arrays, state)
        kept = weights.to_tensors(arrays, "prototypes/")
        self.prototypes = Centroids(kept["values"].to(self.device), kept["counts"].to(self.device))
