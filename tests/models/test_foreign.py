"""Networks of torch and of other libraries, as encoders and decoders."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import resnet18

import semfed
from semfed import models
from semfed.errors import ScenarioError
from semfed.models.foreign import ForeignModel
from semfed.scenario import overrides, plugins
from tests.publisher import publisher
from tests.settings import bases

STREAM = (3, "encoder", 0)
PLUGINS = Path(__file__).parents[1] / "plugins"


@pytest.fixture(autouse=True)
def _beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLUGINS)


def build(table: dict[str, Any], shape: tuple[int, ...] = (1, 8, 8), outputs: int | None = 4) -> nn.Module:
    return models.build(plugins.parse("models", table), shape, outputs=outputs, stream=STREAM)


def refusal(table: dict[str, Any], **given: Any) -> str:
    with pytest.raises((ScenarioError, ValueError)) as told:
        build(table, **given)
    return str(told.value)


def test_a_network_of_torchvision_is_made_of_its_arguments() -> None:
    made = build({"name": "torchvision.models:resnet18", "weights": "none", "num_classes": 6}, (3, 32, 32), 6)
    with torch.random.fork_rng():
        stream = np.random.SeedSequence(3, spawn_key=(zlib.crc32(b"encoder"), 0))
        torch.manual_seed(int(stream.generate_state(1, np.uint64)[0]) >> 1)
        expected = resnet18(weights=None, num_classes=6).eval()
    x = torch.randn(3, 3, 32, 32)
    assert torch.equal(made(x), expected(x))
    assert not made.training


@pytest.mark.parametrize(
    ("part", "native", "place"),
    [
        (
            {"name": "foreign:Net", "inputs": 64, "hidden": 8},
            {"name": "mlp", "hidden": [8]},
            "model.encoder",
        ),
        (
            {"name": "foreign:Net", "inputs": 4, "hidden": 6, "outputs": 10},
            {"name": "mlp", "hidden": [6]},
            "model.decoder",
        ),
    ],
)
def test_a_user_s_own_network_learns_what_the_built_in_one_does(
    part: dict[str, Any], native: dict[str, Any], place: str, tmp_path: Path
) -> None:
    """The same layers from the same stream: the same accuracies."""
    finals = []
    for k, choice in enumerate((part, native)):
        changes = {place: choice, "rounds": 2, "training.momentum": 0.5}
        done = semfed.run(bases.BASES["plain"](), overrides=changes, out=tmp_path / str(k))
        finals.append(next(iter(done.summary["arms"].values()))["final"])
    for name in ("accuracy/average", "loss/average", "train_loss/average", "snr/received-db"):
        assert finals[0][name]["mean"] == pytest.approx(finals[1][name]["mean"], rel=1e-5), name


@pytest.mark.parametrize(
    ("head", "shape", "width"), [("flatten", (1, 8, 8), 192), ("linear", (1, 8, 8), 5), ("linear", (1, 4, 4), 7)]
)
def test_a_head_makes_maps_fit(head: str, shape: tuple[int, ...], width: int) -> None:
    network = build({"name": "foreign:Headless", "head": head}, shape, width)
    x = torch.randn(9, *shape)
    maps = network[0].maps(x)
    expected = maps.flatten(1)
    if head == "linear":
        assert network[2].weight.shape == (width, 3 * shape[1] * shape[2])
        expected = expected @ network[2].weight.T + network[2].bias
    torch.testing.assert_close(network(x), expected)


def test_the_last_linear_layer_is_replaced_and_nothing_else() -> None:
    network = build({"name": "foreign:Net", "inputs": 64, "outputs": 100, "head": "replace"}, outputs=5)
    shapes = [tuple(p.shape) for p in network.parameters()]
    assert shapes == [(8, 64), (8,), (5, 8), (5,)]
    bare = build(
        {"name": "torch.nn:Linear", "in_features": 6, "out_features": 9, "bias": False, "head": "replace"}, (6,)
    )
    assert [tuple(p.shape) for p in bare.parameters()] == [(4, 6)]


def test_arguments_that_are_called_like_our_settings_have_a_table_of_their_own() -> None:
    network = build(
        {"name": "foreign:Headless", "head": "flatten", "arguments": {"head": 2}, "scale": "none", "mode": "none"},
        outputs=128,
    )
    assert network[0].asked == (2, False, None, "none")
    assert "did you mean 'head'" in refusal({"name": "foreign:Headless", "arguments": {"haed": 2}})


REFUSED = [
    ({"name": "foreign:Net"}, "inputs\n  Field required"),
    ({"name": "foreign:Net", "inputs": 64, "hiden": 3}, "unknown setting 'hiden'; did you mean 'hidden'?"),
    ({"name": "foreign:Net", "inputs": "many"}, "Input should be a valid integer"),
    ({"name": "foreign:Net", "inputs": 64, "outputs": 9}, "gives out (2, 9) for two samples instead of 4 numbers each"),
    ({"name": "foreign:Headless"}, "gives out (2, 3, 8, 8) for two samples instead of 4 numbers each"),
    ({"name": "foreign:Net", "inputs": 63}, "cannot take a batch of shape (2, 1, 8, 8) (RuntimeError: mat1 and mat2"),
    ({"name": "foreign:Tupled"}, "gives out a tuple while it trains instead of real numbers"),
    ({"name": "foreign:Headless", "head": "replace"}, "head = 'replace' finds no linear layer: take 'linear'"),
    ({"name": "foreign:number"}, "does not say that it makes a Module: annotate what it returns"),
    ({"name": "shutil:rmtree", "path": "nowhere"}, "'shutil:rmtree' does not say that it makes a Module"),
    ({"name": "torch.nn:Linear", "in_features": -3, "out_features": 4}, "refuses its arguments (RuntimeError: "),
    ({"name": "torchvision.models:resnet18", "nosuch": 3}, "refuses its arguments (TypeError: ResNet.__init__() got"),
]


@pytest.mark.parametrize(("table", "words"), REFUSED, ids=[str(table) for table, _ in REFUSED])
def test_what_does_not_fit_is_refused_in_one_sentence(table: dict[str, Any], words: str) -> None:
    assert words in refusal(table, outputs=64 if table["name"] == "foreign:Tupled" else 4)


def test_a_head_needs_a_width() -> None:
    assert "head = 'linear' fits no width here" in refusal({"name": "foreign:Headless", "head": "linear"}, outputs=None)


def test_initial_weights_are_the_trial_s_and_nobody_s_generator_is_disturbed() -> None:
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, again = build({"name": "foreign:Drawn"}), build({"name": "foreign:Drawn"})
    torch.manual_seed(5)
    other = models.build(plugins.parse("models", "foreign:Drawn"), (1, 8, 8), outputs=4, stream=(4, "encoder", 0))
    torch.set_rng_state(states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert torch.equal(first.weight, again.weight)
    for place in ((0, 0), (0, 1), (5, 2)):  # of NumPy, Python and torch
        assert first.weight[place] != other.weight[place]


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A publisher of weights, and what it was asked for."""
    with publisher(lambda path: (200, b"weights")) as (url, asked):
        yield f"{url}/w.pth", asked


def test_nothing_is_fetched_without_leave(server: tuple[str, list[str]]) -> None:
    url, asked = server
    table = {"name": "foreign:pretrained", "url": url}
    for weights in ({}, {"weights": "none"}):
        build(table | weights, outputs=64)
    said = refusal(table | {"weights": "DEFAULT"}, outputs=64)
    assert f"would fetch {url}: allow it with download = true beside its name" in said
    assert asked == []
    build(table | {"weights": "DEFAULT", "download": True}, outputs=64)
    assert asked == ["/w.pth"]


def test_torchvision_s_weights_are_not_fetched_either(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    said = refusal({"name": "torchvision.models:resnet18", "weights": "IMAGENET1K_V1"}, shape=(3, 32, 32), outputs=1000)
    assert "resnet18-f37072fd.pth: allow it" in said
    assert f"put the file into '{tmp_path / 'checkpoints'}'" in said


def test_a_network_that_does_not_fit_is_refused_before_there_is_a_run_folder(tmp_path: Path) -> None:
    arms = {"arms": [{"name": "good"}, {"name": "bad", "model": {"decoder": {"name": "foreign:Net", "inputs": 5}}}]}
    with pytest.raises(ScenarioError, match=r"cannot take a batch of shape \(2, 4\)"):
        semfed.run(bases.BASES["plain"]() | arms, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_resolved_scenario_says_every_argument_and_can_be_read_again() -> None:
    scenario = overrides.load(bases.BASES["plain"](), {"model.encoder": {"name": "foreign:Net", "inputs": 64}})
    assert scenario.tree()["model"]["encoder"] == {
        "name": "foreign:Net", "head": "none", "download": False, "inputs": 64, "hidden": 8, "outputs": 4,
    }  # fmt: skip
    assert overrides.load(scenario.tree()) == scenario
    wider = overrides.load(scenario, ["model.encoder.hidden=9"])
    assert wider.model.encoder.settings.model_dump()["hidden"] == 9
    assert issubclass(scenario.model.encoder.load(), ForeignModel)
