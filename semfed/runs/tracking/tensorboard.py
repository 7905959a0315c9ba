"""TensorBoard: event files below the run folder, ``tensorboard --logdir RUN/tensorboard`` shows them."""

from collections.abc import Mapping
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from semfed.runs.tracking.base import Tracker
from semfed.scenario import Scenario


class TensorBoard(Tracker):
    """Writes ``tensorboard/<arm>-seed<seed>/`` into the run folder; scalars are called as they are recorded."""

    name = "tensorboard"

    def begin(self, arm: str, seed: int, scenario: Scenario, done: int) -> None:
        """Open the event file; what was written after the last checkpoint is taken back."""
        folder = self.folder / "tensorboard" / f"{arm}-seed{seed}"
        writer: Any = SummaryWriter
        self._writer = writer(str(folder), purge_step=done + 1 if done else None)
        toml = scenario.to_toml().replace("\n", "\n    ")
        self._writer.add_text("scenario", f"    {toml}")  # in Markdown: as it is

    def log(self, round_: int, values: Mapping[str, float]) -> None:
        """Write the scalars, and see to it that a reader finds them now."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, round_)
        self._writer.flush()

    def end(self, result: Mapping[str, Any], *, failed: bool) -> None:
        """Close the event file."""
        for name, value in result.items():
            self._writer.add_text(name, str(value))
        self._writer.close()
