"""Weights & Biases: a run for every arm and seed, all of one run folder in a group."""

import os
from collections.abc import Mapping
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import wandb

from semfed.errors import ScenarioError
from semfed.runs.tracking.base import Tracker
from semfed.scenario import Scenario

HOST = "https://api.wandb.ai"


class WandB(Tracker):
    """Logs to the project ``WANDB_PROJECT``, or the scenario's name; with ``WANDB_MODE=offline`` in the run folder."""

    name = "wandb"

    @classmethod
    def require_ready(cls) -> None:
        """Refuse to begin without a login where one is needed, since it would be asked for in the middle of a run."""
        mode = os.environ.get("WANDB_MODE", "online")
        if mode == "disabled":
            raise ScenarioError(
                "track = 'wandb': WANDB_MODE=disabled keeps nothing; unset it, or leave the tracker out"
            )
        if mode == "online" and not _has_login():
            raise ScenarioError(
                "track = 'wandb': there is no login; run 'wandb login' or set WANDB_API_KEY, or WANDB_MODE=offline to "
                "keep the data here"
            )

    def begin(self, arm: str, seed: int, scenario: Scenario, done: int) -> None:
        """Begin a run, or go on with it."""
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or self._scenario.name,
            group=self.folder.name,
            name=f"{arm} seed {seed}",
            id=self.identity(arm, seed),
            resume="allow" if done else None,
            dir=str(self.folder),
            config={"arm": arm, "seed": seed, **scenario.tree()},
            settings=wandb.Settings(console="off", silent=True),
        )

    def log(self, round_: int, values: Mapping[str, float]) -> None:
        """Log a round as a step."""
        self._run.log(dict(values), step=round_)

    def end(self, result: Mapping[str, Any], *, failed: bool) -> None:
        """Finish the run."""
        self._run.summary.update(dict(result))
        self._run.finish(exit_code=int(failed))


def _has_login() -> bool:
    """Whether wandb will find a key without asking; where it looks for one, but without a connection."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL") or HOST).hostname or ""
    try:
        return netrc(os.environ.get("NETRC") or Path.home() / ".netrc").authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False
