"""Pathological, shard and exponential splits deal what flwr-datasets' partitioners deal, and what their papers say."""

import itertools
from typing import Any

import numpy as np
import pytest

from semfed.data.partitions import Rows, deal
from semfed.errors import DataError
from semfed.scenario import plugins

CLASSES = tuple("abcdefghij")
SHUFFLED = np.random.default_rng(4).integers(0, 10, 403)
GAPS = np.random.default_rng(5).choice([0, 2, 3, 7, 9], 211, p=[0.4, 0.3, 0.1, 0.1, 0.1])
FLOWERS = {
    "pathological": "PathologicalPartitioner", "shard": "ShardPartitioner", "exponential": "ExponentialPartitioner"
}  # fmt: skip
MODES = ("random", "first-deterministic", "deterministic")
ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    "pathological": [
        {"num_classes_per_partition": count, "class_assignment_mode": mode, "seed": seed}
        for count, mode, seed in itertools.product((1, 2, 5), MODES, (0, 3))
    ],
    "shard": [
        *({"num_shards_per_partition": count, "seed": seed} for count in (1, 2, 7) for seed in (0, 3)),
        {"num_shards_per_partition": 2, "keep_incomplete_shard": True, "seed": 1},
        {"num_shards_per_partition": 2, "shard_size": 9, "seed": 1},
        {"shard_size": 10, "seed": 2},
        {"shard_size": 10, "keep_incomplete_shard": True, "seed": 2},
        {"shard_size": 40, "keep_incomplete_shard": True, "seed": 5},
    ],
    "exponential": [{}],
}
CASES = [(rule, given) for rule, each in ARGUMENTS.items() for given in each]


def split(table: dict[str, Any], labels: Rows = SHUFFLED, clients: int = 4, seed: int = 0) -> list[Rows]:
    return deal(plugins.parse("partitions", table), labels, CLASSES, clients, np.random.default_rng(seed))


@pytest.mark.parametrize("labels", [SHUFFLED, GAPS], ids=["all classes", "some classes"])
@pytest.mark.parametrize(("rule", "given"), CASES, ids=[f"{rule} {given}" for rule, given in CASES])
def test_rows_are_those_of_flwr_datasets(rule: str, given: dict[str, Any], labels: Rows) -> None:
    partitioners, datasets = pytest.importorskip("flwr_datasets.partitioner"), pytest.importorskip("datasets")
    known = {"num_partitions": 4} | ({"partition_by": "label"} if rule != "exponential" else {})
    theirs = getattr(partitioners, FLOWERS[rule])(**known, **given)
    theirs.dataset = datasets.Dataset.from_dict({"label": labels, "row": np.arange(len(labels))})
    expected = [sorted(theirs.load_partition(k)["row"]) for k in range(4)]
    assert [rows.tolist() for rows in split({"name": rule, **given}, labels)] == expected


@pytest.mark.parametrize("rule", ["pathological", "shard"])
def test_without_a_seed_rule_and_partitioner_follow_the_trial_s_alike(rule: str) -> None:
    pytest.importorskip("flwr_datasets")
    own = {"num_classes_per_partition": 2} if rule == "pathological" else {"num_shards_per_partition": 2}
    for seed in (0, 1):
        ours = split({"name": rule, **own}, seed=seed)
        theirs = split({"name": f"flwr_datasets.partitioner:{FLOWERS[rule]}", **own}, seed=seed)
        assert [rows.tolist() for rows in ours] == [rows.tolist() for rows in theirs]
    first, second = (np.concatenate(split({"name": rule, **own}, seed=seed)).tolist() for seed in (0, 1))
    assert first != second


@pytest.mark.parametrize("mode", MODES)
def test_every_client_has_so_many_classes_and_shares_them_evenly(mode: str) -> None:
    table = {"name": "pathological", "num_classes_per_partition": 3, "class_assignment_mode": mode, "seed": 2}
    held = np.array([np.bincount(SHUFFLED[rows], minlength=10) for rows in split(table, clients=7)])
    assert ((held > 0).sum(axis=1) == 3).all()
    for label in range(10):
        shares = held[held[:, label] > 0, label]
        assert not len(shares) or (shares.max() - shares.min() <= 1 and shares.sum() == (label == SHUFFLED).sum())
    if mode == "deterministic":
        assert [np.flatnonzero(row).tolist() for row in held[:2]] == [[0, 1, 2], [1, 2, 3]]
        assert np.flatnonzero(held[6]).tolist() == [6, 7, 8]


def test_two_shards_a_client_are_mcmahan_s_split() -> None:
    """100 clients, 600 images of each of ten classes: shards of 30 hold one class, so a client has two at most."""
    labels = np.tile(np.arange(10), 600)
    parts = split({"name": "shard"}, labels, clients=100)
    held = np.array([np.bincount(labels[rows], minlength=10) for rows in parts])
    assert (held.sum(axis=1) == 60).all()
    assert ((held > 0).sum(axis=1) <= 2).all()
    assert set(held[held > 0].tolist()) == {30, 60}
    assert (held.sum(axis=0) == 600).all(), "all images are dealt"


def test_sizes_grow_by_e() -> None:
    sizes = [len(rows) for rows in split({"name": "exponential"}, np.tile(np.arange(10), 1000), clients=5)]
    assert sum(sizes) == 10_000
    assert [larger / smaller for smaller, larger in itertools.pairwise(sizes)] == pytest.approx([np.e] * 4, rel=0.02)


def test_a_random_order_mixes_classes_and_is_the_trial_s() -> None:
    labels = np.sort(SHUFFLED)
    stored = split({"name": "exponential"}, labels)
    assert [rows.tolist() for rows in stored] == [
        rows.tolist() for rows in split({"name": "exponential"}, labels, seed=1)
    ]
    mixed, other = (split({"name": "exponential", "shuffle": True}, labels, seed=seed) for seed in (0, 1))
    assert [len(rows) for rows in mixed] == [len(rows) for rows in stored]
    assert mixed[1].tolist() != other[1].tolist()
    assert len(np.unique(labels[stored[1]])) < len(np.unique(labels[mixed[1]]))


@pytest.mark.parametrize(
    ("table", "clients", "words"),
    [
        ({"name": "pathological", "num_classes_per_partition": 11}, 4, "= 11, but the training images have 10 classes"),
        (
            {"name": "pathological", "num_classes_per_partition": 10},
            60,
            "60 clients have class 'a', of which there are",
        ),
        ({"name": "shard", "num_shards_per_partition": 200}, 4, "ask for 800 images, but there are 403"),
        ({"name": "shard", "num_shards_per_partition": 3, "shard_size": 50}, 4, "ask for 600 images"),
        ({"name": "shard", "shard_size": 150}, 4, "shard_size = 150 makes 2 shards of 403 images for 4 clients: lower"),
        ({"name": "exponential"}, 8, "leave the first of 8 clients none of 403 images"),
        ({"name": "exponential"}, 800, "leave the first of 800 clients none"),
    ],
)
def test_what_cannot_be_dealt_is_refused(table: dict[str, Any], clients: int, words: str) -> None:
    with pytest.raises(DataError, match=words):
        split(table, clients=clients)
