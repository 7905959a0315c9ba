"""Another Flower than those that were tried is refused in one sentence, before anything of it is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from semfed.errors import EngineError
from semfed.flower.tested import require_tested


@pytest.mark.parametrize("found", ["1.40.0", "1.43.0", "1.43.0.dev20270101", "2.0.0"])
def test_what_was_not_tried_is_refused(found: str) -> None:
    with pytest.raises(EngineError) as told:
        require_tested(found)
    assert f"Flower {found} is installed, and semfed was tested with flwr >=1.41 and <1.43: pip install " in str(
        told.value
    )


@pytest.mark.parametrize("found", ["1.41.0", "1.42.0", "1.42.7"])
def test_what_was_tried_is_not(found: str) -> None:
    require_tested(found)


@pytest.mark.parametrize("words", [["run", "digits"], ["profile", "digits"]])
def test_the_command_line_says_so_instead_of_an_error_of_import(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "flwr-1.43.0.dist-info").mkdir()
    (tmp_path / "flwr-1.43.0.dist-info" / "METADATA").write_text("Name: flwr\nVersion: 1.43.0\n")
    (tmp_path / "flwr").mkdir()
    (tmp_path / "flwr" / "__init__.py").write_text("")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    line = [sys.executable, "-m", "semfed", *words]
    done = subprocess.run(line, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: Flower 1.43.0 is installed, and semfed was tested with flwr >=1.41 and <1.43")
    assert len(done.stderr.splitlines()) == 1
