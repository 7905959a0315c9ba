"""What the README shows is executed: here, or (make) by .ci/run."""

import os
import re
import shlex
import socket
import subprocess
import sysconfig
from pathlib import Path

import psutil
import pytest
from PIL import Image
from typer.testing import CliRunner

from semfed.cli import app
from semfed.scenario import overrides

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line]


def test_every_kind_of_command_is_known() -> None:
    assert {command.split()[0] for command in COMMANDS} == {"make", "semfed", "flwr"}
    ci = (ROOT / ".ci" / "run").read_text()
    for command in COMMANDS:
        assert not command.startswith("make") or command in ci, "CI runs what the README shows"


def test_semfed_commands_work_in_the_order_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        words = shlex.split(command)
        if words[0] == "semfed" and "DIR" not in words:
            result = CliRunner().invoke(app, words[1:])
            assert result.exit_code == 0, f"{command}: {result.output}"


def test_the_command_on_real_data(tmp_path: Path, data_root: Path) -> None:
    (command,) = [command for command in COMMANDS if "DIR" in command]
    words = shlex.split(command.replace("DIR", str(data_root)))
    short = ["--seeds", "0", "--arms", "clustered", "--set", "rounds=1", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, [*words[1:], *short])
    assert result.exit_code == 0, result.output


def test_the_python_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    assert 0 < float(capsys.readouterr().out) < 1


def test_your_own_images(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    (tmp_path / "mine.toml").write_text(text)
    for value, name in enumerate(("dry", "full", "flooded")):
        (tmp_path / "lakes" / name).mkdir(parents=True)
        for k in range(40):
            Image.new("RGB", (20, 20), (80 * value, 3 * k, 0)).save(tmp_path / "lakes" / name / f"{k}.png")
    overrides.load(tmp_path / "mine.toml")
    out = str(tmp_path / "run")
    result = CliRunner().invoke(app, ["run", str(tmp_path / "mine.toml"), "--data-root", str(tmp_path), "--out", out])
    assert result.exit_code == 0, result.output


@pytest.mark.flower
def test_the_flower_command(tmp_path: Path) -> None:
    """`flwr run` as a user types it, from elsewhere, with the default federation of two SuperNodes."""
    (command,) = [command for command in COMMANDS if command.startswith("flwr")]
    scripts = sysconfig.get_path("scripts")
    ports = []
    for _ in range(2):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            ports.append(str(listener.getsockname()[1]))
    environment = {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "FLWR_HOME": str(tmp_path / "flwr"),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": ports[0],
        "FLWR_LOCAL_CONTROL_API_PORT": ports[1],
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    }
    words = shlex.split(command)
    words[0] = str(Path(scripts) / "flwr")
    words[2] = str(ROOT / words[2])
    try:
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        (summary,) = (tmp_path / "semfed-runs").glob("digits-*/summary.json")
        assert '"complete": true' in summary.read_text()
        assert "majority class" in done.stdout
    finally:
        mine = [p for p in psutil.process_iter() if _has(p, environment["FLWR_HOME"])]
        for process in mine:
            process.kill()
        psutil.wait_procs(mine, timeout=10)


def _has(process: psutil.Process, home: str) -> bool:
    try:
        return process.environ().get("FLWR_HOME") == home
    except (psutil.Error, OSError):
        return False
