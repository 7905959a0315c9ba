"""Received features in the plane: one t-SNE panel an arm, as papers on semantic communication show them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from safetensors.numpy import load_file
from threadpoolctl import threadpool_limits

from semfed.report.style import COLUMN, PAGE, look

PERPLEXITY = 30.0
MOST_COLUMNS = 4
Features = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
"""Features, shape (images, features), and their labels."""


def read_features(file: Path) -> Features | None:
    """Return all clients' features, shape (images, features), and their labels; None if the file has none."""
    arrays = load_file(file)
    clients = sorted(name.removeprefix("features/") for name in arrays if name.startswith("features/"))
    if not clients:
        return None
    parts = [(arrays[f"features/{client}"], arrays[f"labels/{client}"]) for client in clients]
    return np.concatenate([features for features, _ in parts]), np.concatenate([labels for _, labels in parts])


def features_of(folder: Path, arms: Sequence[str], seed: int) -> dict[str, Features]:
    """Return what `read_features` finds in a run folder, by arm in this order; arms without samples are left out."""
    files = {arm: folder / "samples" / f"{arm}-seed{seed}.safetensors" for arm in arms}
    found = {arm: read_features(file) for arm, file in files.items() if file.is_file()}
    return {arm: shown for arm, shown in found.items() if shown is not None}


def feature_map(shown: Mapping[str, Features], names: Sequence[str]) -> Figure:
    """Draw the panels.

    Parameters
    ----------
    shown : mapping of str to (features, labels)
        By arm, at least one. T-SNE starts from the principal components, so it needs no seed of its own.
    names : sequence of str
        Of the labels.
    """
    from sklearn.manifold import TSNE  # takes a second to import, which most runs need not wait for

    columns = min(MOST_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    width = COLUMN if columns == 1 else PAGE
    legend_rows = math.ceil(len(names) / (5 * columns))
    figure = Figure(figsize=(width, rows * (width / columns * 0.9 + 0.2) + 0.15 * legend_rows + 0.1))
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for spare in panels[len(shown) :]:
        spare.remove()
    drawn: dict[str, Artist] = {}
    for axes, (arm, (features, labels)) in zip(panels, shown.items(), strict=False):
        perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
        with threadpool_limits(1):  # so few points are no work for many threads, which wait for each other
            plane = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(features)
        for label in np.unique(labels):
            looks = look(int(label))
            points = plane[labels == label].T
            drawn[names[label]] = axes.scatter(
                *points, s=9, color=looks["color"], marker=looks["marker"], linewidths=0, alpha=0.8
            )
        axes.set(title=arm, xticks=[], yticks=[])
        axes.grid(False)
        axes.spines[:].set_visible(True)
    ordered = [name for name in names if name in drawn]
    figure.legend(
        [drawn[name] for name in ordered], ordered, loc="outside lower center", ncols=5 * columns, markerscale=1.5,
        frameon=False, handlelength=1, columnspacing=1,
    )  # fmt: skip
    figure.set_label("received features in the plane (t-SNE)")
    return figure
