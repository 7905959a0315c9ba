"""Tables without a medium: of clusters and similarity where there are clients to compare."""

from typing import Any

import pytest
from rich.console import Console

from semfed.events.metrics import FRAMEWORK, Metrics
from semfed.report import tables
from semfed.report.sheets import cluster_sheets


def summary(clients: int) -> dict[str, Any]:
    return {
        "scenario": "s", "headline": "accuracy/average", "arms": {}, "baselines": {}, "complete": True, "error": "",
        "comparisons": {}, "reach": [], "clusters": {"a": [[k] for k in range(clients)]}, "threshold": None,
        "similarity": [[1.0] * clients] * clients,
    }  # fmt: skip


@pytest.mark.parametrize(("clients", "captions"), [(1, []), (2, ["clusters", "semantic"])])
def test_a_single_client_is_compared_with_nobody(clients: int, captions: list[str]) -> None:
    names = [f"client {k}" for k in range(clients)]
    sheets = cluster_sheets(summary(clients), {"clients": [{"name": name} for name in names]})
    assert [sheet.caption.split()[0] for sheet in sheets] == captions
    console = Console(record=True, width=120)
    tables.show(summary(clients), Metrics(FRAMEWORK), console, names)
    assert ("clusters" in console.export_text()) == (clients > 1)
