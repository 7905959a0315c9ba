"""What a client with several tasks tells of its labels: enough for clustering and for baselines, and no more."""

from collections.abc import Mapping
from typing import Any, Literal

import torch

from semfed.algorithms.information import empirical_pmf
from semfed.data import tasks
from semfed.flower.client.session import Session
from semfed.scenario import Task


def label_statistics(
    session: Session, decided: Mapping[str, Task], quantity: Literal["accuracy", "error"]
) -> dict[str, Any]:
    """Return the properties of a client.

    Parameters
    ----------
    session : Session
        The task that the scenario names for its client is the one whose pmf is told.
    decided : mapping of str to Task
        What the client's receivers decide.
    quantity : {"accuracy", "error"}
        What the baseline is given as.

    Returns
    -------
    dict
        ``num-examples``; ``baseline/<quantity>/<task>`` and their mean ``baseline/<quantity>/average``, what always
        deciding for the most frequent value reaches on the test set; ``pmf/<value>`` for every value of the named task.
    """
    dataset, name = session.dataset, session.spec.task
    named = session.scenario.tasks[name]
    own = dataset.train.labels[torch.from_numpy(session.rows).to(session.device)]
    values = tasks.joint_values(own, {name: named}, dataset.classes)[:, 0]
    pmf = empirical_pmf(values.cpu().numpy(), len(named.symbols))
    told: dict[str, Any] = {"num-examples": len(own)}
    baselines: dict[str, float] = {}
    tested = tasks.joint_values(dataset.test.labels, decided, dataset.classes)
    for (task_name, task), column in zip(decided.items(), tested.T, strict=True):
        most = float(empirical_pmf(column.cpu().numpy(), len(task.symbols)).max())
        baselines[task_name] = most if quantity == "accuracy" else 1 - most
    baselines["average"] = sum(baselines.values()) / len(baselines)
    told |= {f"baseline/{quantity}/{label}": value for label, value in baselines.items()}
    return told | {f"pmf/{symbol}": float(p) for symbol, p in zip(named.symbols, pmf, strict=True)}
