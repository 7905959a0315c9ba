"""How large things may be: an app is limited, an update is not, because Flower cuts it into pieces."""

import json
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from semfed.scenario import built_in

MIB = 2**20


def test_an_app_over_the_limit_is_refused_with_a_remedy(tmp_path: Path) -> None:
    app = tmp_path / "digits"
    shutil.copytree(built_in()["digits"].parent, app)
    for k in range(12):
        (app / f"stray-{k}.json").write_text(json.dumps(os.urandom(480_000).hex()))
    flwr = shutil.which("flwr", path=sysconfig.get_path("scripts")) or shutil.which("flwr")
    assert flwr is not None
    environment = {**os.environ, "FLWR_HOME": str(tmp_path / "home"), "FLWR_TELEMETRY_ENABLED": "0",
                   "FLWR_DISABLE_UPDATE_CHECK": "1", "COLUMNS": "200"}  # fmt: skip
    done = subprocess.run([flwr, "build"], cwd=app, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "exceeds maximum allowed size of 10,485,760 bytes" in done.stdout + done.stderr
    assert "fab-exclude" in done.stdout + done.stderr


@pytest.mark.parametrize("mib", [1, 12])
def test_a_large_array_travels_in_pieces_far_below_the_limit_of_a_frame(identity: None, mib: int) -> None:
    array = Array(np.zeros(mib * MIB, np.uint8))
    message = Message(RecordDict({"arrays": ArrayRecord({"w": array})}), 2, "train")
    sizes = [len(piece.deflate()) for piece in get_all_nested_objects(message).values()]
    assert max(sizes) < 5.1 * MIB
    assert max(sizes) >= min(mib, 5) * MIB
