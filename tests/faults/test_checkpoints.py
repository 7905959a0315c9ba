"""Checkpoints that are damaged, foreign or hostile are refused with one sentence, and nothing is lost by it."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save

import semfed
from semfed.checkpoint import files
from semfed.engine import flower_simulation
from semfed.errors import CheckpointError, RunFolderError, SemfedError


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    semfed.run("digits", seeds=[0], arms=["clustered"], overrides=["rounds=3", "training.epochs=1"], out=out)
    return out


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


MANIFEST, SERVER = "checkpoint/checkpoint.json", "checkpoint/clustered-seed0-round1.safetensors"
CLIENT = "checkpoint/clients/*/*/client-1/round-1.safetensors"


DAMAGES = [(which, how) for which in (MANIFEST, SERVER, CLIENT) for how in ("truncated", "bit-flipped", "pickle")]


@pytest.mark.parametrize(("which", "how"), [*DAMAGES, (SERVER, "missing"), (CLIENT, "missing")])
def test_a_damaged_part_is_refused_and_a_good_one_goes_on(
    interrupted: Callable[..., Path],
    results: Callable[[Path], Any],
    whole: Path,
    which: str,
    how: str,
    tmp_path: Path,
) -> None:
    folder = interrupted()
    path, fired = only(folder, which), tmp_path / "fired"
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    bad = {"truncated": good[:-9], "bit-flipped": bytes(flipped), "pickle": pickle.dumps(Bomb(fired)), "missing": None}
    path.unlink()
    if bad[how] is not None:
        path.write_bytes(bad[how])
    with pytest.raises(SemfedError, match="damaged|cannot be read"):
        semfed.run(resume=folder)
    assert not fired.exists()
    path.write_bytes(good)
    semfed.run(resume=folder)
    assert results(folder) == results(whole)


def resealed(path: Path, **changes: Any) -> None:
    """Change a manifest and give it the right hash for that."""
    content = json.loads(path.read_text())["content"] | changes
    sealed = {"sha256": files.digest(json.dumps(content, sort_keys=True).encode()), "content": content}
    path.write_text(json.dumps(sealed))


def test_another_version_is_refused(interrupted: Callable[..., Path]) -> None:
    folder = interrupted()
    resealed(folder / MANIFEST, schema=1)
    with pytest.raises(CheckpointError, match="has version 1, not 2: go on with the semfed that wrote it"):
        semfed.run(resume=folder)


def test_another_scenario_is_refused(interrupted: Callable[..., Path]) -> None:
    folder = interrupted()
    with pytest.raises(CheckpointError, match="is a run of another scenario"):
        semfed.run("digits", seeds=[1], resume=folder)
    toml = folder / "scenario.toml"
    toml.write_text(toml.read_text().replace("lr = 0.05", "lr = 0.06"))
    with pytest.raises(CheckpointError, match="belongs to another scenario"):
        semfed.run(resume=folder)


def test_a_path_outside_is_not_followed(interrupted: Callable[..., Path], tmp_path: Path) -> None:
    folder = interrupted()
    (tmp_path / "secret.safetensors").write_bytes(b"secret")
    resealed(folder / MANIFEST, file="../../secret.safetensors")
    with pytest.raises(CheckpointError, match=r"checkpoint/secret.safetensors' cannot be read"):
        semfed.run(resume=folder)
    resealed(folder / MANIFEST, file=Path(SERVER).name, run="../../../../tmp")
    with pytest.raises(SemfedError, match="is no name of a run"):
        semfed.run(resume=folder)


def test_a_damaged_history_is_refused(interrupted: Callable[..., Path]) -> None:
    folder = interrupted()
    history = folder / "metrics.jsonl"
    text = history.read_text()
    history.write_text(text.replace('"value": 0.', '"value": 1.', 1))
    with pytest.raises(RunFolderError, match="damaged before the checkpoint"):
        semfed.run(resume=folder)


def test_what_a_kill_left_half_written_does_not_matter(
    interrupted: Callable[..., Path], results: Callable[[Path], Any], whole: Path
) -> None:
    """A line without its end, a client's state of the next round, a scratch file of a checkpoint."""
    folder = interrupted()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"arm": "clus')
    state = only(folder, CLIENT)
    state.with_name("round-2.safetensors").write_bytes(b"half")
    (folder / "checkpoint" / ".checkpoint.json.77").write_text('{"sha')
    (folder / "checkpoint" / "clustered-seed0-round2.safetensors").write_bytes(b"half")
    semfed.run(resume=folder)
    assert results(folder) == results(whole)


def test_flowers_simulation_is_followed_from_the_checkpoint_on(
    interrupted: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came after it is gone before anybody could take it for something new."""
    folder = interrupted(2)

    def rounds() -> list[int]:
        return [json.loads(line)["round"] for line in (folder / "timing.jsonl").read_text().splitlines()]

    followed: list[int] = []
    assert rounds() == [0, 1, 2]
    monkeypatch.setattr(flower_simulation, "simulate", lambda *_, **__: followed.extend(rounds()))
    semfed.run(resume=folder, engine="flower")
    assert followed == [0, 1]


def test_a_run_without_a_checkpoint_begins_again(
    interrupted: Callable[..., Path], results: Callable[[Path], Any], whole: Path, tmp_path: Path
) -> None:
    folder = interrupted(rounds=0)
    assert not (folder / MANIFEST).exists()
    semfed.run(resume=folder)
    assert results(folder) == results(whole)
    with pytest.raises(RunFolderError, match=r"holds no scenario.toml"):
        semfed.run(resume=tmp_path / "nothing")


def test_a_finished_run_is_not_run_again(whole: Path, tmp_path: Path, results: Callable[[Path], Any]) -> None:
    folder = shutil.copytree(whole, tmp_path / "copy")
    before = results(folder), (folder / "timing.jsonl").read_bytes()
    done = semfed.run(resume=folder)
    assert done.summary["complete"]
    assert (results(folder), (folder / "timing.jsonl").read_bytes()) == before


def test_without_checkpoints_a_finished_arm_still_counts(
    interrupted: Callable[..., Path], results: Callable[[Path], Any], tmp_path: Path
) -> None:
    given = {"arms": ["clustered", "individual"], "overrides": ["rounds=2", "checkpoint_every=0"]}
    folder = interrupted(rounds=5, **given)
    assert json.loads((folder / MANIFEST).read_text())["content"]["arm"] == "clustered"
    timings = (folder / "timing.jsonl").read_text().splitlines()
    semfed.run(resume=folder)
    assert (folder / "timing.jsonl").read_text().splitlines()[:3] == timings[:3]
    semfed.run("digits", seeds=[0], out=tmp_path / "undisturbed", **given)
    assert results(folder) == results(tmp_path / "undisturbed")


def test_safetensors_of_somebody_else_are_refused() -> None:
    with pytest.raises(CheckpointError, match="it has version None, not 2"):
        files.parse(save({}), "it")
