"""The similarity of tasks as a map, with the threshold and the clusters that it makes."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from semfed.report.style import COLOURS, COLUMN
from semfed.scenario import merge

DARK = "#111111"
"""On the map's light colours, whatever the colour of the page's text."""
FEW = 12
"""Clients whose names and numbers can be read in a column."""


def similarity_map(summary: Mapping[str, Any], scenario: Mapping[str, Any]) -> Figure:
    """Draw the similarity matrix with the threshold and the clusters that it makes."""
    matrix = np.array(summary["similarity"])
    names = [client["name"] for client in scenario["clients"]]
    figure = Figure(figsize=(COLUMN, 3.0))
    axes = figure.subplots()
    image = axes.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    bar = figure.colorbar(image, ax=axes, shrink=0.85, label="semantic similarity")
    few = len(names) <= FEW
    if few:
        size = 7 if len(names) <= 6 else 5
        for (row, column), value in np.ndenumerate(matrix):
            colour = "white" if value > 0.6 else DARK
            axes.text(column, row, f"{value:.3f}", ha="center", va="center", color=colour, fontsize=size)
        ticks = [textwrap.shorten(name, 16, placeholder="…") for name in names]
        turned: dict[str, Any] = {"rotation": 30, "ha": "right"} if sum(map(len, ticks)) > 30 else {}
        axes.set_xticks(range(len(names)), ticks, **turned)
        axes.set_yticks(range(len(names)), ticks)
    else:
        axes.set_xlabel("client")
        axes.set_ylabel("client")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    lines = []
    if summary["threshold"] is not None:
        bar.ax.axhline(summary["threshold"], color=COLOURS[1], linewidth=1.5)
        lines.append(f"threshold {summary['threshold']:.3f}")
    found = _clusters_by_similarity(summary, scenario)
    if found and few:
        joined = ", ".join("{" + ", ".join(names[client] for client in cluster) + "}" for cluster in found)
        lines += textwrap.wrap(joined, 52)
    axes.set_title("\n".join(lines))
    figure.set_label("semantic similarity of the clients' tasks")
    return figure


def _clusters_by_similarity(summary: Mapping[str, Any], scenario: Mapping[str, Any]) -> list[list[int]] | None:
    changes = {arm["name"]: arm for arm in scenario.get("arms", ())}
    for arm, clusters in summary["clusters"].items():
        if merge(scenario, changes.get(arm, {}))["strategy"].get("clusters") == "similarity":
            return list(clusters)
    return None
