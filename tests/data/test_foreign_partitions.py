"""flwr-datasets' partitioners by name deal what they deal by themselves."""

import sys
from typing import Any

import numpy as np
import pytest

from semfed.data.partitions import deal
from semfed.errors import DataError, ScenarioError
from semfed.scenario import overrides, plugins

partitioner = pytest.importorskip("flwr_datasets.partitioner")
datasets = pytest.importorskip("datasets")

CLASSES = tuple(map(str, range(10)))
LABELS = np.random.default_rng(4).integers(0, 10, 400)
NAME = "flwr_datasets.partitioner:"
BY_LABEL = {"num_partitions": 4, "partition_by": "label"}
ATTRIBUTES = {
    "writer": np.array(["f9", "m1", "f10", "Zoë"])[np.random.default_rng(5).integers(0, 4, 400)],
    "station": np.array([70, -3, 12, 5, 100, 8])[np.random.default_rng(6).integers(0, 6, 400)],
}
KINDS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("DirichletPartitioner", {"alpha": 0.4, "min_partition_size": 5, "seed": 3}, BY_LABEL),
    ("DirichletPartitioner", {"alpha": [1.0, 2.0, 3.0, 4.0], "self_balancing": True, "seed": 0}, BY_LABEL),
    ("PathologicalPartitioner", {"num_classes_per_partition": 3, "seed": 5}, BY_LABEL),
    (
        "PathologicalPartitioner",
        {"num_classes_per_partition": 2, "class_assignment_mode": "deterministic", "seed": 1},
        BY_LABEL,
    ),
    ("ShardPartitioner", {"num_shards_per_partition": 2, "seed": 9}, BY_LABEL),
    ("ExponentialPartitioner", {}, {"num_partitions": 4}),
    ("LinearPartitioner", {}, {"num_partitions": 4}),
    ("SquarePartitioner", {}, {"num_partitions": 4}),
    ("IidPartitioner", {}, {"num_partitions": 4}),
    ("SizePartitioner", {"partition_sizes": [10, 20, 30, 40]}, {}),
    (
        "InnerDirichletPartitioner",
        {"partition_sizes": [30, 20, 30, 40], "alpha": 1.0, "seed": 2},
        {"partition_by": "label"},
    ),
    ("NaturalIdPartitioner", {"partition_by": "writer"}, {}),
    ("GroupedNaturalIdPartitioner", {"partition_by": "writer", "group_size": 1}, {}),
    *(
        ("GroupedNaturalIdPartitioner", {"partition_by": "station", "group_size": 2, "mode": mode, **order}, {})
        for mode in ("allow-smaller", "strict")
        for order in ({}, {"sort_unique_ids": True})
    ),
    ("DirichletPartitioner", {"alpha": 0.4, "partition_by": "station", "seed": 3}, {"num_partitions": 4}),
    ("ShardPartitioner", {"num_shards_per_partition": 2, "partition_by": "writer", "seed": 3}, {"num_partitions": 4}),
]


def dealt(table: dict[str, Any], seed: int = 0, clients: int = 4) -> list[np.ndarray[Any, Any]]:
    choice = plugins.parse("partitions", table)
    return list(deal(choice, LABELS, CLASSES, clients, np.random.default_rng(seed), attributes=ATTRIBUTES))


@pytest.mark.parametrize(("kind", "given", "known"), KINDS, ids=[f"{kind} {given}" for kind, given, _ in KINDS])
def test_rows_are_those_of_flwr_datasets(kind: str, given: dict[str, Any], known: dict[str, Any]) -> None:
    own = getattr(partitioner, kind)(**known, **given)
    own.dataset = datasets.Dataset.from_dict({"label": LABELS, "index": list(range(len(LABELS))), **ATTRIBUTES})
    assert own.num_partitions in (3, 4)
    expected = [sorted(own.load_partition(k)["index"]) for k in range(own.num_partitions)]
    found = dealt({"name": f"{NAME}{kind}", **given}, clients=own.num_partitions)
    assert [rows.tolist() for rows in found] == expected


def test_without_a_seed_it_follows_from_the_trial_s() -> None:
    table = {"name": f"{NAME}DirichletPartitioner", "alpha": 0.4}
    one, again, other = (np.concatenate(dealt(table, seed)) for seed in (0, 0, 1))
    assert one.tolist() == again.tolist()
    assert one.tolist() != other.tolist()


REFUSED = [
    ({"name": f"{NAME}SizePartitioner", "partition_sizes": [10, 20]}, "makes 2 partitions for 4 clients"),
    ({"name": f"{NAME}DirichletPartitioner", "alpha": -1.0}, "refuses its arguments (ValueError"),
    ({"name": f"{NAME}DirichletPartitioner"}, "alpha\n  Field required"),
    ({"name": f"{NAME}DirichletPartitioner", "alpha": 1.0, "num_partitions": 3}, "unknown setting 'num_partitions'"),
    ({"name": f"{NAME}PathologicalPartitioner", "num_classes_per_partition": 11}, "cannot deal (ValueError"),
    ({"name": f"{NAME}NaturalIdPartitioner"}, "makes 10 partitions for 4 clients"),
    (
        {"name": f"{NAME}NaturalIdPartitioner", "partition_by": "station"},
        "makes 6 partitions for 4 clients: change its arguments, or the number of clients",
    ),
    (
        {"name": f"{NAME}NaturalIdPartitioner", "partition_by": "author"},
        "data.partition.partition_by = 'author': the data set has the attributes ['station', 'writer']; name one",
    ),
]


@pytest.mark.parametrize(("table", "words"), REFUSED, ids=[str(table) for table, _ in REFUSED])
def test_what_does_not_fit_is_refused(table: dict[str, Any], words: str) -> None:
    with pytest.raises((DataError, ScenarioError, ValueError)) as told:
        dealt(table)
    assert words in str(told.value)


@pytest.mark.parametrize(("setting", "value"), [("seed", 3), ("partition_by", "writer")])
def test_what_a_partitioner_does_not_take_is_refused(setting: str, value: Any) -> None:
    with pytest.raises(ScenarioError, match=rf"{setting} has no effect: .*IidPartitioner' has no such argument"):
        overrides.load("digits", {"data.partition": {"name": f"{NAME}IidPartitioner", setting: value}})


@pytest.mark.parametrize("name", ["label", "row"])
def test_an_attribute_does_not_replace_what_is_ours(name: str) -> None:
    choice = plugins.parse("partitions", {"name": f"{NAME}IidPartitioner"})
    with pytest.raises(DataError, match=f"cannot tell an attribute '{name}' from ours: call it otherwise"):
        deal(choice, LABELS, CLASSES, 4, np.random.default_rng(0), attributes={name: LABELS})


def test_where_the_library_is_missing_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "flwr_datasets"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "flwr_datasets", None)
    with pytest.raises(ScenarioError, match=r"pip install 'semfed\[partitions\]'"):
        plugins.load("partitions", f"{NAME}IidPartitioner")
