"""What docs/foreign-parts.md shows is trained with; that all of it is valid is told by the tests of the pages."""

from collections.abc import Callable
from pathlib import Path

import pytest

import semfed
from semfed.flower import preflight
from semfed.scenario import overrides
from tests.docs.pages import ROOT, blocks
from tests.sources import write_attributed

BLOCKS = list(blocks(ROOT / "docs" / "foreign-parts.md"))
CODE = "\n\n".join(block.text for block in BLOCKS if block.title == "mine.py")
SHOWN = [line for block in BLOCKS if block.language == "toml" for line in block.text.splitlines()]
COLOUR = [line for line in SHOWN if "torchvision.models" in line]
DATA = [line for line in SHOWN if line.startswith("data.source")]
BY_ATTRIBUTE = [line for line in SHOWN if 'by = "' in line]
GRAY = [line for line in SHOWN if line not in COLOUR + DATA + BY_ATTRIBUTE]
CLIENTS = 'clients=[{ name = "a", task = "t2" }, { name = "b", task = "t2" }]'
MISSING = 'tasks.t2.missing="allow"'  # some partitions leave a value out
PLAIN = ['strategy="fedavg"', "rounds=1", "training.epochs=1", CLIENTS, MISSING]
IID = 'data.partition={ name = "iid", per_client = 40 }'


@pytest.fixture
def beside(module_beside: Callable[[str, str], Path]) -> Path:
    """A scenario of one arm, with the module of the page beside it."""
    return module_beside("mine", CODE)


def test_the_page_shows_every_kind() -> None:
    kinds = {line.split("=")[0].strip() for line in SHOWN}
    assert kinds == {
        "model.encoder", "model.decoder", "channel", "clients", "data.source", "data.partition", "metrics", "strategy"
    }  # fmt: skip
    assert COLOUR


@pytest.mark.parametrize("setting", GRAY)
def test_every_part_runs(setting: str, beside: Path) -> None:
    kept = [given for given in (*PLAIN, IID) if given.split("=")[0] != setting.split("=")[0].strip()]
    given = [*kept, setting]
    done = semfed.run(beside / "scenario.toml", overrides=given, seeds=[0], out=beside / "run")
    assert 0 < next(iter(done.summary["arms"].values()))["final"]["accuracy/average"]["mean"] <= 1


@pytest.mark.parametrize("setting", BY_ATTRIBUTE)
def test_images_are_dealt_by_attributes(setting: str, beside: Path) -> None:
    grouped = "Grouped" in setting  # three satellites in groups of two
    clients = CLIENTS if grouped else CLIENTS.removesuffix("]") + ', { name = "c", task = "t2" }]'
    given = [*(one for one in PLAIN if one != CLIENTS), clients, setting, write_attributed(beside)]
    done = semfed.run(beside / "scenario.toml", overrides=given, seeds=[0], data_root=beside, out=beside / "run")
    assert 0 < next(iter(done.summary["arms"].values()))["final"]["accuracy/average"]["mean"] <= 1


@pytest.mark.parametrize("setting", [line for line in DATA if "mine:" in line])
def test_a_data_set_of_one_s_own_is_trained_with(setting: str, beside: Path) -> None:
    """Those of other libraries, with files in their layouts, are read in tests/data."""
    tasks = 'tasks={ size = { values = ["small", "large"] } }'
    clients = 'clients=[{ name = "a", task = "size" }, { name = "b", task = "size" }]'
    given = ['strategy="fedavg"', "rounds=3", "training.epochs=20", clients, tasks, 'data.partition="iid"', setting]
    done = semfed.run(beside / "scenario.toml", overrides=given, seeds=[0], out=beside / "run")
    assert next(iter(done.summary["arms"].values()))["final"]["accuracy/average"]["mean"] > 0.9


@pytest.mark.parametrize("setting", COLOUR)
def test_networks_for_colour_images_are_made_and_tried(setting: str, tmp_path: Path) -> None:
    """Pictures as large as torchvision's networks want them; what is refused otherwise would raise here."""
    from tests.settings import bases

    bases.write_data(tmp_path)
    changes = [setting, "data.source.size=40", "channel.uses=8"]
    assert preflight.check(overrides.load(bases.BASES["images"](), changes), tmp_path)
