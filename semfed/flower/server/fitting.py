"""Whether a strategy can work with a scenario's clients and learner: what would fail, or wait for ever, is refused."""

from typing import Any

from flwr.client import NumPyClient
from flwr.serverapp.strategy import FedXgbBagging, FedXgbCyclic, Strategy

from semfed.errors import ScenarioError
from semfed.flower.server.resume import require_word
from semfed.flower.server.strategy import FederatedStrategy, require_one_architecture
from semfed.scenario import Scenario
from semfed.scenario.plugins import sound


def check(scenario: Scenario) -> None:
    """Look at the strategy of one arm.

    Parameters
    ----------
    scenario : Scenario
        Of the arm.

    Raises
    ------
    ScenarioError
        If it is no strategy, exchanges no networks, trains by methods that the learner does not have, or waits for more
        nodes than there are clients.
    CheckpointError
        If checkpoints are asked for and it does not say what it keeps between rounds.
    """
    name, kind = scenario.strategy.name, scenario.strategy.load()
    if not (isinstance(kind, type) and issubclass(kind, Strategy)):
        raise ScenarioError(f"strategy {name!r} is no class of a Flower strategy: name a subclass of Strategy")
    if issubclass(kind, (FedXgbBagging, FedXgbCyclic)):
        raise ScenarioError(
            f"strategy {name!r}: {kind.__name__} exchanges trees of XGBoost, which no learner here grows: take another"
        )
    _require_phases(scenario, getattr(kind, "phases", FederatedStrategy.phases))
    if kind.start not in (Strategy.start, FederatedStrategy.start):
        raise ScenarioError(
            f"strategy {name!r} has a start() of its own, which is not called here, where rounds are counted and "
            "resumed: move what it does to configure_train() or aggregate_train()"
        )
    if scenario.checkpoint_every:
        require_word(kind)
    if not issubclass(kind, FederatedStrategy):
        _check_stock(kind(**scenario.strategy.settings.model_dump()), scenario)


def _require_phases(scenario: Scenario, phases: tuple[str, ...]) -> None:
    missing = _missing(scenario.learner.load(), phases)
    if missing:
        fitting = [name for name, learner in sound("clients").items() if not _missing(learner, phases)]
        raise ScenarioError(
            f"learner {scenario.learner.name!r} has no method {missing[0]!r}, by which strategy "
            f"{scenario.strategy.name!r} trains: take another strategy, or one of the learners {fitting}"
        )


def _missing(learner: Any, phases: tuple[str, ...]) -> list[str]:
    return [phase for phase in phases if getattr(learner, phase, None) in (None, NumPyClient.fit)]


def _check_stock(strategy: Any, scenario: Scenario) -> None:
    """Look at one of Flower's own, which samples nodes and waits until there are enough."""
    try:
        require_one_architecture(scenario, "use strategy 'fedavg' with exchange = false")
    except ValueError as error:
        raise ScenarioError(str(error)) from error
    clients = len(scenario.clients)
    for name in ("min_available_nodes", "min_train_nodes", "min_evaluate_nodes"):
        nodes = getattr(strategy, name, 0)
        if nodes > clients:
            raise ScenarioError(
                f"strategy.{name} = {nodes} is more than the number of clients, {clients}, so that the strategy would "
                f"wait for ever: set it to {clients} at most"
            )
