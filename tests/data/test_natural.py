"""A natural partition deals images by what they carry, as flwr-datasets' partitioner does."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import semfed
from semfed.data.partitions import AttributePartition, Rows, deal
from semfed.data.source import Attributes
from semfed.errors import DataError, ScenarioError, SemfedError
from semfed.scenario import overrides, plugins
from tests.settings import bases

RANDOM = np.random.default_rng(3)
LABELS = RANDOM.integers(0, 3, 200)
CLASSES = ("a", "b", "c")
WRITERS = np.array(["f10", "f9", "Zoë", "m_01", "f100", ""])
COLUMNS = {
    "writer": WRITERS[RANDOM.integers(0, 6, 200)],
    "orbit": np.array([700, -3, 12, 2, 100, 5])[RANDOM.integers(0, 6, 200)],
    "hash": np.array([2**64 - 1, 2**63, 5, 0, 2**40, 1], dtype=np.uint64)[RANDOM.integers(0, 6, 200)],
    "small": RANDOM.permutation(np.resize(np.arange(6, dtype=np.uint8), 200)),
}


def split(by: str, clients: int = 6, seed: int = 0, attributes: Attributes = COLUMNS, **settings: Any) -> list[Rows]:
    choice = plugins.parse("partitions", {"name": "natural", "by": by, **settings})
    return deal(choice, LABELS, CLASSES, clients, np.random.default_rng(seed), attributes=attributes)


def values(parts: Sequence[Rows], by: str) -> list[list[Any]]:
    """Return which values the images of every client have."""
    return [np.unique(COLUMNS[by][rows]).tolist() for rows in parts]


@pytest.mark.parametrize("by", ["writer", "orbit", "small"])
def test_rows_are_those_of_flwr_datasets(by: str) -> None:
    partitioners, datasets = pytest.importorskip("flwr_datasets.partitioner"), pytest.importorskip("datasets")
    theirs = partitioners.NaturalIdPartitioner(partition_by=by)
    theirs.dataset = datasets.Dataset.from_dict({by: COLUMNS[by], "row": np.arange(200)})
    assert [rows.tolist() for rows in split(by)] == [theirs.load_partition(k)["row"][:] for k in range(6)]


def test_a_client_has_all_images_of_a_value() -> None:
    assert values(split("orbit"), "orbit") == [[-3], [2], [5], [12], [100], [700]], "as numbers, not as texts"
    assert values(split("writer"), "writer") == [[""], ["Zoë"], ["f10"], ["f100"], ["f9"], ["m_01"]]
    assert values(split("hash"), "hash") == [[0], [1], [5], [2**40], [2**63], [2**64 - 1]], "flwr-datasets fails here"
    assert sorted(np.concatenate(split("writer"))) == list(range(200))


def test_of_more_values_than_clients_some_are_dealt() -> None:
    assert values(split("orbit", 3, values="first"), "orbit") == [[-3], [2], [5]]
    assert values(split("orbit", 3, values=[100, "-3", 5]), "orbit") == [[100], [-3], [5]]
    assert values(split("writer", 2, values=["f9", ""]), "writer") == [["f9"], [""]]
    drawn = [values(split("orbit", 3, seed=seed, values="random"), "orbit") for seed in range(40)]
    assert all(one == sorted(one) for one in drawn)
    assert {value for one in drawn for (value,) in one} == {-3, 2, 5, 12, 100, 700}
    assert drawn[0] == values(split("orbit", 3, values="random"), "orbit")
    assert split("orbit", values="random")[2].tolist() == split("orbit")[2].tolist(), "of six, six are all"


@given(st.lists(st.integers(-3, 3) | st.just(2**62), min_size=1, max_size=60), st.data())
def test_every_image_of_a_chosen_value_is_with_one_client(column: list[int], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(sorted(set(column))), min_size=1, unique=True))
    choice = plugins.parse("partitions", {"name": "natural", "by": "x", "values": chosen})
    labels = np.zeros(len(column), dtype=np.int64)
    parts = deal(
        choice, labels, ("a",), len(chosen), np.random.default_rng(0), attributes={"x": np.array(column, dtype=int)}
    )
    expected = [[row for row, value in enumerate(column) if value == mine] for mine in chosen]
    assert [rows.tolist() for rows in parts] == expected


@pytest.mark.parametrize(
    ("told", "clients", "words"),
    [
        ({"by": "wrtier"}, 6, "data.partition.by = 'wrtier': the data set has the attributes ['hash', 'orbit', "),
        ({"by": "orbit"}, 4, "data.partition.by = 'orbit' has 6 values among the training images, for 4 clients: use 6 "
                             "clients, or set data.partition.values to 'first', 'random' or a list"),
        ({"by": "orbit"}, 7, "has 6 values among the training images, for 7 clients: use 6 clients or fewer"),
        ({"by": "orbit", "values": "random"}, 7, "for 7 clients: use 6 clients or fewer"),
        ({"by": "orbit", "values": [2, 3]}, 2,
         "data.partition.values: no training image has 3 as its 'orbit'; the 6 values are '-3', '2', '5', '12', '100', "
         "..."),
    ],
)  # fmt: skip
def test_what_cannot_be_dealt_is_refused(told: dict[str, Any], clients: int, words: str) -> None:
    with pytest.raises(DataError) as error:
        split(clients=clients, **told)
    assert words in str(error.value)


def test_without_attributes_it_says_where_they_come_from() -> None:
    for attributes in ({}, None):
        with pytest.raises(DataError, match=r"has no attributes; they are arrays attribute_NAME of an .npz file, or"):
            split("writer", attributes=attributes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["x", "y"], "data.partition.values has 2 values for 3 clients; give one a client"),
        (["x", 1, "1"], "'1' is named twice: no two clients share images"),
        ("frist", "Input should be 'all', 'first' or 'random'"),
        ([True, 1, 2], "Input should be a valid integer"),
    ],
)
def test_a_list_has_one_value_a_client(values: Any, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        overrides.load("digits", {"data.partition": {"name": "natural", "by": "writer", "values": values}})


class ByDevice(AttributePartition):
    """A rule of somebody else: the first client has one device's images, the others share the rest."""

    def deal_by(
        self,
        attributes: Attributes,
        labels: Rows,
        classes: tuple[str, ...],
        clients: int,
        generator: np.random.Generator,
    ) -> list[Rows]:
        own = attributes["small"] == 0
        rest = np.flatnonzero(~own)
        return [np.flatnonzero(own), *(rest[k :: clients - 1] for k in range(clients - 1))]


def test_a_partition_of_ones_own_gets_attributes() -> None:
    choice = plugins.parse("partitions", {"name": f"{__name__}:ByDevice"})
    parts = deal(choice, LABELS, CLASSES, 3, np.random.default_rng(0), attributes=COLUMNS)
    assert values(parts[:1], "small") == [[0]]
    assert sum(map(len, parts)) == 200


def scenario(clients: str = "xyz", **partition: Any) -> dict[str, Any]:
    """Return a tiny scenario, whose clients have the images of a satellite each."""
    chosen = {"name": "natural", "by": "satellite", **partition}
    return {
        **bases.BASES["arrays"](),
        "data": {"source": {"name": "npz", "file": "own.npz"}, "partition": chosen},
        "clients": [{"name": name, "task": "digit"} for name in clients],
    }


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fifty images for training: three satellites have taken 10, 15 and 25, and every pass saw one class alone."""
    labels = np.arange(60) % 2
    attributes = {"satellite": np.repeat(["c", "b", "a"], [10, 15, 25]), "pass": labels[:50] + 4}
    arrays = {"images": RANDOM.integers(0, 256, (60, 8, 8), dtype=np.uint8), "labels": labels}
    parts = {
        f"{part}_{kind}": array[rows]
        for part, rows in (("train", slice(50)), ("test", slice(50, 60)))
        for kind, array in arrays.items()
    }
    parts |= {f"train_attribute_{name}": marks for name, marks in attributes.items()}
    np.savez(tmp_path / "own.npz", classes=np.array(["left", "right"]), **parts)
    monkeypatch.setenv("SEMFED_DATA", str(tmp_path))
    monkeypatch.setenv("SEMFED_CACHE", str(tmp_path / "cache"))
    return tmp_path


def channel_uses(run: Path) -> dict[str, float]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {r["client"]: r["value"] / 4 for r in records if r["metric"] == "cost/channel_uses"}


def test_a_run_trains_every_client_on_its_own_images(root: Path) -> None:
    """An image takes four channel uses."""
    semfed.run(scenario(), out=root / "all")
    assert channel_uses(root / "all") == {"x": 25, "y": 15, "z": 10}
    semfed.run(scenario("xy", values=["c", "a"]), out=root / "two")
    assert channel_uses(root / "two") == {"x": 10, "y": 25}
    pytest.importorskip("flwr_datasets")
    theirs = {"name": "flwr_datasets.partitioner:NaturalIdPartitioner", "partition_by": "satellite"}
    semfed.run(scenario(), overrides={"data.partition": theirs}, out=root / "theirs")
    scores = [
        [line for line in (root / run / "metrics.jsonl").read_text().splitlines() if "accuracy" in line]
        for run in ("all", "theirs")
    ]
    assert scores[0] == scores[1] != []


def test_a_kept_trial_is_not_taken_for_one_of_other_attributes(root: Path) -> None:
    semfed.run(scenario(), cache=root / "kept", out=root / "first")
    with np.load(root / "own.npz") as file:
        arrays = dict(file)
    arrays["train_attribute_satellite"] = np.repeat(["c", "b", "a"], [25, 15, 10])
    np.savez(root / "own.npz", **arrays)
    semfed.run(scenario(), cache=root / "kept", out=root / "second")
    assert channel_uses(root / "first") == {"x": 25, "y": 15, "z": 10}
    assert channel_uses(root / "second") == {"x": 10, "y": 15, "z": 25}


@pytest.mark.parametrize(
    ("tree", "changes", "words"),
    [
        (scenario(by="sat"), {}, r"data.partition.by = 'sat': the data set has the attributes \['pass', 'satellite'\]"),
        (scenario("xy"), {}, "has 3 values among the training images, for 2 clients"),
        (scenario(values=["a", "b", "d"]), {}, "has 'd' as its 'satellite'; the 3 values are 'a', 'b', 'c'$"),
        (scenario("xy", by="pass"), {}, "client 'x' has no sample of value 'right' of its task 'digit'"),
        (scenario(), {"data.validation": 12}, "takes 12 of the 10 images of client 'z'"),
        (scenario(), {"data.q": 3}, "override 'data.q': no such setting"),
        (scenario(), {"data.source": "digits"}, "the data set has no attributes; they are arrays attribute_NAME"),
    ],
)
def test_what_follows_from_who_has_what_is_told_before_training(
    tree: dict[str, Any], changes: dict[str, Any], words: str, root: Path
) -> None:
    tasks = {"digit": {"values": list(range(10))}} if changes.get("data.source") else tree["tasks"]
    with pytest.raises(SemfedError, match=words):
        semfed.run({**tree, "tasks": tasks}, overrides=changes, out=root / "no")
    assert not (root / "no").exists()
