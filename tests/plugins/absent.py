"""Learners whose first client never trains, as third-party plugins: what a quorum is for."""

from typing import Any

from semfed.clients.aligned_user import AlignedUser
from semfed.clients.joint import JointClient
from semfed.clients.multitask import MultitaskClient
from semfed.clients.split import SplitClient


class Absent:
    """Mixed in before a learner."""

    session: Any

    def _leave(self) -> None:
        if self.session.client == 0:
            raise RuntimeError("away")

    def fit(self, parameters: Any, config: dict[str, Any]) -> Any:
        self._leave()
        return super().fit(parameters, config)  # type: ignore[misc]

    def forward(self, parameters: Any, config: dict[str, Any]) -> Any:
        self._leave()
        return super().forward(parameters, config)  # type: ignore[misc]


class Joint(Absent, JointClient):
    """Of FedAvg."""


class Split(Absent, SplitClient):
    """Of FedCL and FedProto."""


class Multitask(Absent, MultitaskClient):
    """Of clustered averaging."""


class Aligned(Absent, AlignedUser):
    """Of alignment."""


class Untold(MultitaskClient):
    """Keeps the distribution of its labels to itself."""

    tells_labels = False
