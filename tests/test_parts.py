"""What docs/parts.md shows is run: its module beside a scenario, with every TOML line as a setting."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import semfed
from semfed.errors import SemfedError
from semfed.runs.api import Run
from tests.docs.pages import ROOT, blocks
from tests.sources import write_attributed

PAGE = list(blocks(ROOT / "docs" / "parts.md"))
CODE = "\n\n".join(block.text for block in PAGE if block.title == "parts.py")
SETTINGS = [line for block in PAGE if block.language == "toml" for line in block.text.splitlines()]
LEARNERS = [line for line in SETTINGS if line.startswith("learner")]
# Clients for which all parameters travel, and whose tasks have one alphabet, as FedAvg wants them.
PLAIN = [
    'learner="parts:Shared"', 'strategy="fedavg"', 'data.partition={ name = "iid", per_client = 60 }',
    'clients=[{ name = "a", task = "t1" }, { name = "b", task = "t1" }]', "rounds=2", "training.epochs=1",
]  # fmt: skip


@pytest.fixture
def beside(module_beside: Callable[[str, str], Path]) -> Path:
    """A scenario of one arm, with the module of the page beside it."""
    return module_beside("parts", CODE)


def run(folder: Path, *changes: str, **options: Any) -> Run:
    return semfed.run(folder / "scenario.toml", overrides=[*PLAIN, *changes], seeds=[0], out=folder / "run", **options)


def test_the_page_shows_every_kind() -> None:
    assert len(LEARNERS) == 4
    kinds = {line.split("=")[0].strip() for line in SETTINGS}
    assert kinds == {"learner", "strategy", "channel", "model.decoder", "data.source", "data.partition"}


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_part_runs(setting: str, beside: Path) -> None:
    kept = [given for given in PLAIN if given.split("=")[0] != setting.split("=")[0].strip()]
    path = beside / "scenario.toml"
    data, root = ([write_attributed(beside)], beside) if 'by = "' in setting else ([], None)
    done = semfed.run(path, overrides=[*kept, setting, *data], seeds=[0], data_root=root, out=beside / "run")
    final = next(iter(done.summary["arms"].values()))["final"]
    score = "psnr/average" if "Reconstruction" in setting else "accuracy/average"
    assert final[score]["mean"] > 0
    if "Reconstruction" in setting:
        with pytest.raises(SemfedError, match="decides nothing"):
            done.link()
    else:
        assert list(done.link().values) == [done.scenario.clients[0].task]


def test_parts_are_as_short_as_the_page_promises() -> None:
    bodies = {m[1]: m[0] for m in re.finditer(r"class (\w+)[^\n]*:\n(?:(?:    [^\n]*)?\n)+", CODE)}
    lines = {name: sum(bool(line.strip()) for line in body.splitlines()) for name, body in bodies.items()}
    assert lines["Smallest"] <= 15
    assert lines["FedProx"] <= 8
    assert lines["Reconstruction"] <= 25
    assert lines["Median"] <= 5


def test_fedprox_without_its_term_is_fedavg_and_with_much_of_it_is_not(beside: Path) -> None:
    def metrics(name: str, strategy: str) -> str:
        given = [*(line for line in PLAIN if not line.startswith("strategy")), f"strategy={strategy}"]
        done = semfed.run(beside / "scenario.toml", overrides=given, seeds=[0], out=beside / name)
        lines = (done.folder / "metrics.jsonl").read_text().splitlines()
        return "\n".join(line for line in lines if "simulation_bytes" not in line)

    average = metrics("average", '"fedavg"')
    assert metrics("without", '{ name = "parts:FedProx", proximal_mu = 0.0 }') == average
    assert metrics("much", '{ name = "parts:FedProx", proximal_mu = 10.0 }') != average


def test_a_callback_hears_of_every_round(beside: Path) -> None:
    run(beside, "training.lr=0.01")
    progress = sys.modules["parts"].Progress()
    semfed.run(beside / "scenario.toml", overrides=PLAIN, seeds=[0], out=beside / "again", callbacks=[progress])
    assert progress.rounds == [("digits", 0, 0), ("digits", 0, 1), ("digits", 0, 2)]
