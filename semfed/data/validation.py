"""The validation split: training images of a client that it is judged by and never learns from."""

import numpy as np

from semfed.data.partitions import Rows
from semfed.errors import DataError


def held_out(
    rows: Rows, labels: Rows, asked: float, generator: np.random.Generator, *, client: str
) -> tuple[Rows, Rows]:
    """Divide a client's training images into those it trains on and those it is validated on.

    Every class gives in proportion to its images, rounded so that the sum is right (largest remainders), and keeps at
    least one image for training.

    Parameters
    ----------
    rows : ndarray, shape (images,), int64
        Rows of the client's images, sorted.
    labels : ndarray, shape (images,), int64
        Their classes.
    asked : int or float
        How many are held out: a number, or a share below 1.
    generator : numpy.random.Generator
        Draws them.
    client : str
        Its name, for messages.

    Returns
    -------
    training, validation : ndarray of int64
        Rows, sorted; together they are all.

    Raises
    ------
    DataError
        If nothing would be held out, or a class would be left without an image for training.
    """
    wanted = asked if isinstance(asked, int) else round(asked * len(rows))
    classes, counts = np.unique(labels, return_counts=True)
    if not wanted:
        raise DataError(
            f"data.validation = {asked:g} of the {len(rows)} images of client {client!r} is none: raise it, or give "
            "the client more images"
        )
    if wanted > len(rows) - len(classes):
        raise DataError(
            f"data.validation = {asked:g} takes {wanted} of the {len(rows)} images of client {client!r}, who has "
            f"{len(classes)} classes and keeps one image of each to train on: lower it, or give the client more images"
        )
    given = _shares(counts, wanted, generator)
    chosen = [
        generator.permutation(np.flatnonzero(labels == label))[:count]
        for label, count in zip(classes, given, strict=True)
    ]
    mask = np.zeros(len(rows), dtype=bool)
    mask[np.concatenate(chosen)] = True
    return rows[~mask], rows[mask]


def _shares(counts: Rows, wanted: int, generator: np.random.Generator) -> Rows:
    """Split a number among classes in proportion to their images, at most all but one of each; ties are drawn."""
    exact = wanted * counts / counts.sum()
    given = np.floor(exact).astype(np.int64)
    order = np.lexsort((generator.random(len(counts)), given - exact))  # the largest remainder first
    while (missing := wanted - given.sum()) > 0:
        able = order[given[order] < counts[order] - 1][:missing]
        given[able] += 1
    return given
