"""Received features in the plane: one t-SNE panel an arm, as papers on semantic communication show them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.figure import Figure
from safetensors.numpy import load_file

PERPLEXITY = 30.0
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

    figure = Figure(figsize=(2.3 * len(shown), 2.6))
    colours = colormaps["tab10"]
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (arm, (features, labels)) in zip(panels, shown.items(), strict=True):
        perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
        plane = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(features)
        for label in np.unique(labels):
            points = plane[labels == label]
            axes.scatter(*points.T, s=4, color=colours(label % 10), label=names[label], linewidths=0)
        axes.set(title=arm, xticks=[], yticks=[])
        axes.grid(False)
        axes.spines[:].set_visible(True)
    handles, texts = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="lower center", ncols=5, markerscale=2, bbox_to_anchor=(0.5, -0.16))
    return figure
