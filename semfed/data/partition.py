"""Who gets which training images: seeded, disjoint, checked."""

from typing import assert_never

import numpy as np
import numpy.typing as npt

from semfed.errors import DataError
from semfed.partitions import CountsPartition, DirichletPartition, IIDPartition, Partition, WaysShotsPartition

Rows = npt.NDArray[np.int64]

DIRICHLET_ATTEMPTS = 1000


def partition(
    split: Partition,
    labels: npt.NDArray[np.int64],
    classes: tuple[str, ...],
    clients: int,
    generator: np.random.Generator,
) -> list[Rows]:
    """Distribute training images among clients.

    Parameters
    ----------
    split : CountsPartition, IIDPartition, DirichletPartition or WaysShotsPartition
        The rule.
    labels : ndarray, shape (samples,), int64
        Class of every training image.
    classes : tuple of str
        Names of the classes.
    clients : int
        Number of clients, 1 or more.
    generator : numpy.random.Generator
        Source of all randomness.

    Returns
    -------
    list of ndarray of int64
        Row indices of every client, sorted; no row occurs twice.

    Raises
    ------
    DataError
        If the rule asks for more images than exist.
    """
    if isinstance(split, CountsPartition):
        parts = _counts(split, labels, classes, clients, generator)
    elif isinstance(split, IIDPartition):
        parts = _iid(split, len(labels), clients, generator)
    elif isinstance(split, DirichletPartition):
        parts = _dirichlet(split, labels, len(classes), clients, generator)
    elif isinstance(split, WaysShotsPartition):
        parts = _ways_shots(split, labels, classes, clients, generator)
    else:
        assert_never(split)
    parts = [np.sort(rows).astype(np.int64) for rows in parts]
    taken = np.concatenate(parts)
    if len(np.unique(taken)) != len(taken):
        raise AssertionError("a partition gave one image to two clients")
    return parts


def _pools(labels: npt.NDArray[np.int64], classes: int, generator: np.random.Generator) -> list[Rows]:
    """Return the rows of every class in random order, to be dealt from the front."""
    return [generator.permutation(np.flatnonzero(labels == label)) for label in range(classes)]


def _counts(
    split: CountsPartition,
    labels: npt.NDArray[np.int64],
    classes: tuple[str, ...],
    clients: int,
    generator: np.random.Generator,
) -> list[Rows]:
    rows = [[*row, *[0] * (len(classes) - len(row))] for row in split.counts]
    widest = max(map(len, rows))
    if widest != len(classes):
        raise DataError(
            f"data.partition.counts has rows of {widest} counts, but the data set has {len(classes)} classes"
        )
    pools = _pools(labels, len(classes), generator)
    for name, pool, *asked in zip(classes, pools, *rows, strict=True):
        wanted = sum(asked)  # of Python's integers, which do not overflow
        if wanted > len(pool):
            raise DataError(
                f"data.partition.counts asks for {wanted} images of class {name!r}, but there are {len(pool)} for "
                "training: lower the counts"
            )
    table = np.array(rows, dtype=np.int64)
    ends = np.cumsum(table, axis=0)
    return [
        np.concatenate([pool[end - size : end] for pool, end, size in zip(pools, ends[k], table[k], strict=True)])
        for k in range(clients)
    ]


def _iid(split: IIDPartition, samples: int, clients: int, generator: np.random.Generator) -> list[Rows]:
    order = generator.permutation(samples)
    if split.per_client is None:
        if clients > samples:
            raise DataError(f"data.partition: {clients} clients cannot share {samples} images: use fewer clients")
        return list(np.array_split(order, clients))
    if split.per_client * clients > samples:
        raise DataError(
            f"data.partition.per_client = {split.per_client} asks for {split.per_client * clients} images for "
            f"{clients} clients, but there are {samples} for training: lower it"
        )
    return list(order[: split.per_client * clients].reshape(clients, split.per_client))


def _dirichlet(
    split: DirichletPartition,
    labels: npt.NDArray[np.int64],
    classes: int,
    clients: int,
    generator: np.random.Generator,
) -> list[Rows]:
    if split.min_samples * clients > len(labels):
        raise DataError(
            f"data.partition.min_samples = {split.min_samples} for {clients} clients asks for more than the "
            f"{len(labels)} images that there are for training: lower it"
        )
    pools = _pools(labels, classes, generator)
    for _ in range(DIRICHLET_ATTEMPTS):
        shares = generator.dirichlet(np.full(clients, split.alpha), size=classes)
        cuts = [
            np.round(np.cumsum(share)[:-1] * len(pool)).astype(int) for share, pool in zip(shares, pools, strict=True)
        ]
        dealt = [np.split(pool, cut) for pool, cut in zip(pools, cuts, strict=True)]
        parts = [np.concatenate([pieces[k] for pieces in dealt]) for k in range(clients)]
        if min(len(rows) for rows in parts) >= split.min_samples:
            return parts
    raise DataError(
        f"data.partition: {DIRICHLET_ATTEMPTS} draws of Dirichlet(alpha = {split.alpha}) never gave every client "
        f"{split.min_samples} images: raise alpha or lower min_samples"
    )


def _ways_shots(
    split: WaysShotsPartition,
    labels: npt.NDArray[np.int64],
    classes: tuple[str, ...],
    clients: int,
    generator: np.random.Generator,
) -> list[Rows]:
    if split.m > len(classes):
        raise DataError(f"data.partition.m = {split.m}, but the data set has {len(classes)} classes: lower m")
    pools = _pools(labels, len(classes), generator)
    dealt = [0] * len(classes)
    parts = []
    for _ in range(clients):
        chosen = sorted(generator.choice(len(classes), size=split.m, replace=False).tolist())
        for label in chosen:
            if dealt[label] + split.shots > len(pools[label]):
                raise DataError(
                    f"data.partition: class {classes[label]!r} has {len(pools[label])} images, too few for all the "
                    f"clients that drew it at q = {split.shots}: lower q or the number of clients"
                )
        parts.append(np.concatenate([pools[label][dealt[label] : dealt[label] + split.shots] for label in chosen]))
        for label in chosen:
            dealt[label] += split.shots
    return parts
