"""The smallest part of every kind, as `semfed.testing.package` writes it: complete, typed, and passing its checks."""

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "$name"
version = "0.1.0"
description = "A $kind for semfed"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["semfed>=$version"]

[project.optional-dependencies]
dev = ["pytest>=8.3", "mypy>=1.14", "ruff>=0.9"]

[project.entry-points."semfed.$group"]
$name = "$module:$cls"

[tool.setuptools.packages.find]
where = ["src"]

[tool.setuptools.package-data]
$module = ["py.typed"]

[tool.pytest.ini_options]
addopts = "-ra --import-mode=importlib"

[tool.mypy]
strict = true
files = ["src", "tests"]

[tool.ruff]
line-length = 120

[tool.ruff.lint]
extend-select = ["B", "D1", "I", "UP"]
per-file-ignores = { "tests/**" = ["D1"] }
"""

README = """\
# $name

A $kind for semfed.

```sh
pip install -e '.[dev]'   # from here on semfed finds it
pytest && mypy && ruff check .
semfed plugins $name   # what a user reads of it
```

$use
"""

TESTS = """\
\"\"\"Whether the $kind does what semfed relies on: every check is a test.\"\"\"

from semfed.scenario.plugins import load
from semfed.testing import Check, parametrize_with_checks

from $module import $cls


@parametrize_with_checks("$group", [$cls])
def test_checks(check: Check) -> None:
    check()


def test_a_scenario_finds_it() -> None:
    assert load("$group", "$name") is $cls
"""

CALLBACK_TESTS = """\
\"\"\"Whether the callback hears of a run.\"\"\"

from pathlib import Path

import semfed
from semfed.scenario.plugins import load

from $module import $cls


def test_it_hears_of_every_round(tmp_path: Path) -> None:
    callback = $cls()
    semfed.run("digits", arms=["individual"], seeds=[0], overrides=["rounds=2"], out=tmp_path, callbacks=[callback])
    assert callback.rounds == [0, 1, 2]


def test_semfed_finds_it() -> None:
    assert load("callbacks", "$name") is $cls
"""

CHANNEL = """\
\"\"\"A channel that loses numbers.\"\"\"

import torch
from pydantic import Field
from semfed.channels import Channel, ChannelSettings, ChannelState
from torch import Tensor


class $cls(Channel):
    \"\"\"Lose every number with one probability, and add noise to all.\"\"\"

    class Settings(ChannelSettings):
        \"\"\"How much is lost.\"\"\"

        probability: float = Field(default=0.1, ge=0, le=1)
        \"\"\"That a number is lost.\"\"\"

    settings: Settings

    def distort(self, x: Tensor, state: ChannelState) -> Tensor:
        \"\"\"Return what arrives; shape (batch, numbers) in and out.\"\"\"
        kept = torch.rand(x.shape, generator=state.generator, device=x.device) >= self.settings.probability
        return self.add_noise(x * kept, state)
"""

STRATEGY = """\
\"\"\"A strategy that takes the median.\"\"\"

import numpy as np
from semfed.flower.arrays import Arrays
from semfed.flower.server.broadcast import BroadcastStrategy
from semfed.flower.server.replies import Replies


class $cls(BroadcastStrategy):
    \"\"\"Take the median of every weight over the clients.\"\"\"

    stateless = True

    def aggregate(self, replies: Replies) -> Arrays:
        \"\"\"Return the next arrays, named like those that were sent.\"\"\"
        return {name: np.median(stack, axis=0) for name, stack in replies.stacked()}
"""

CLIENT = """\
\"\"\"A client that shares its encoder and its decoder.\"\"\"

from collections.abc import Mapping

from semfed.events.metrics import Metric
from semfed.flower.client.learner import Learner
from semfed.training.objective import Batch, Build, Networks, Send, Total, correct
from torch import Tensor
from torch.nn.functional import cross_entropy


class $cls(Learner):
    \"\"\"Decide on the value of the client's task from what the channel lets through.\"\"\"

    metrics = (Metric("accuracy", better="higher", fraction=True),)

    def networks(self, build: Build) -> Networks:
        \"\"\"Share both networks.\"\"\"
        return Networks({"encoder": build.encoder(), "decoder": build.decoder(self.task.size, shared=True)})

    def loss(self, nets: Networks, batch: Batch, send: Send) -> Tensor:
        \"\"\"Return the mean cross-entropy of a minibatch.\"\"\"
        return cross_entropy(nets.decoder(send(nets.encoder(batch.images))), batch.labels)

    def score(self, nets: Networks, batch: Batch, send: Send) -> Mapping[str, Total]:
        \"\"\"Count the right decisions.\"\"\"
        return {"accuracy": correct(nets.decoder(send(nets.encoder(batch.images))), batch.labels)}
"""

MODEL = """\
\"\"\"A model with one hidden layer.\"\"\"

import math

from pydantic import Field
from semfed.errors import ScenarioError
from semfed.scenario.settings import StrictModel
from torch import nn


class $cls:
    \"\"\"Flatten, one hidden layer, and as many outputs as are asked for.\"\"\"

    class Settings(StrictModel):
        \"\"\"Widths.\"\"\"

        width: int = Field(default=16, ge=1)
        \"\"\"Of the hidden layer.\"\"\"

    def __init__(self, settings: Settings) -> None:
        \"\"\"Take the settings of a scenario.\"\"\"
        self.settings = settings

    def build(self, input_shape: tuple[int, ...], outputs: int | None) -> nn.Module:
        \"\"\"Make the network: (batch, *input_shape) in, (batch, outputs) out, float32.\"\"\"
        if outputs is None:
            raise ScenarioError("model '$name' needs to know how many numbers come out: set channel.uses")
        width = self.settings.width
        return nn.Sequential(
            nn.Flatten(), nn.Linear(math.prod(input_shape), width), nn.Tanh(), nn.Linear(width, outputs)
        )
"""

DATASET = """\
\"\"\"A data set that is computed.\"\"\"

from pathlib import Path

import numpy as np
from pydantic import Field
from semfed.data.source import Decoded
from semfed.scenario.settings import StrictModel


class $cls:
    \"\"\"Images of 8 x 10 pixels with one bright stripe, whose place is the class.\"\"\"

    class Settings(StrictModel):
        \"\"\"How many images there are.\"\"\"

        images: int = Field(default=600, ge=100)
        \"\"\"For training; there are a tenth of it for testing.\"\"\"

    downloads = False
    needs_root = False

    def __init__(self, settings: Settings) -> None:
        \"\"\"Take the settings of a scenario.\"\"\"
        self.settings = settings

    def files(self, root: Path | None) -> list[Path] | None:
        \"\"\"Return what read() opens, so that a decoded copy can be kept: nothing.\"\"\"
        return None

    def read(self, root: Path | None, *, download: bool) -> Decoded:
        \"\"\"Return images of shape (samples, channels, height, width), uint8, and their classes.\"\"\"
        train = self.settings.images
        labels = np.arange(train + train // 10) % 10
        images = np.random.default_rng(0).integers(0, 100, (len(labels), 1, 8, 10), dtype=np.uint8)
        images[np.arange(len(labels)), :, :, labels] += 100
        return Decoded(
            title="$name",
            classes=tuple(f"column {k}" for k in range(10)),
            train=(images[:train], labels[:train]),
            test=(images[train:], labels[train:]),
            mean=(0.23,),
            std=(0.16,),
        )
"""

PARTITION = """\
\"\"\"A partition that deals like cards.\"\"\"

import numpy as np
from pydantic import Field
from semfed.data.partitions import Partition, Rows
from semfed.errors import DataError
from semfed.scenario.settings import StrictModel


class $cls(Partition):
    \"\"\"Deal all images one by one, in random order.\"\"\"

    class Settings(StrictModel):
        \"\"\"What is left over.\"\"\"

        share: float = Field(default=1.0, gt=0, le=1)
        \"\"\"Of the images that are dealt.\"\"\"

    def deal(self, labels: Rows, classes: tuple[str, ...], clients: int, generator: np.random.Generator) -> list[Rows]:
        \"\"\"Return the rows of every client; no row occurs twice.\"\"\"
        dealt = int(self.settings.share * len(labels))
        if dealt < clients:
            raise DataError(f"data.partition.share leaves {dealt} images for {clients} clients: raise it")
        order = generator.permutation(len(labels))[:dealt]
        return [order[k::clients] for k in range(clients)]
"""

CALLBACK = """\
\"\"\"A callback that notes the rounds.\"\"\"

from collections.abc import Sequence

from semfed.events.callbacks import Callback
from semfed.events.records import Record


class $cls(Callback):
    \"\"\"Note the number of every round that is over; 0 is what comes before the first.\"\"\"

    def __init__(self) -> None:
        \"\"\"Begin with none.\"\"\"
        self.rounds: list[int] = []

    def on_round(self, arm: str, seed: int, round_: int, records: Sequence[Record], seconds: float) -> None:
        \"\"\"Take the records of a finished round.\"\"\"
        self.rounds.append(round_)
"""

KINDS = {
    "strategy": ("strategies", STRATEGY, 'In a scenario: `strategy = "$name"`.'),
    "client": ("clients", CLIENT, 'In a scenario: `learner = "$name"`.'),
    "channel": ("channels", CHANNEL, 'In a scenario: `channel = { name = "$name", uses = 8, probability = 0.2 }`.'),
    "model": ("models", MODEL, 'In a scenario: `model.encoder = { name = "$name", width = 32 }`.'),
    "dataset": ("datasets", DATASET, 'In a scenario: `data.source = { name = "$name", images = 1000 }`.'),
    "partition": ("partitions", PARTITION, 'In a scenario: `data.partition = { name = "$name", share = 0.5 }`.'),
    "callback": (
        "callbacks",
        CALLBACK,
        'From Python: `semfed.run("digits", callbacks=[$cls()])`; or `semfed run digits --callback $module:$cls`.',
    ),
}
"""By kind: the group of its entry point, its module, and how a user takes it."""
