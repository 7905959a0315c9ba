"""A truthful runner for Flower's own simulation.

``flwr run`` returns 0 even when the run failed, reuses whatever SuperLink listens on its port, and installs an app's
dependencies at every run. This runner starts a SuperLink of its own in a private home, on a free port and in an
empty working directory, waits for the run's terminal status, reports it, and leaves no process behind, not even if
this process is killed.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomli_w

from semfed.checkpoint.manifest import CLIENTS, FOLDER, Checkpoint
from semfed.engine.sockets import socket_folder
from semfed.errors import EngineError
from semfed.events.callbacks import Callback
from semfed.flower.server.run import told_of_run
from semfed.scenario import Scenario

START_S = 60.0
STATUS_EVERY_S = 5.0
STATUS_SHARE = 0.1
"""Part of the time that may go to asking for the status, for which a process has to import Flower each time."""
POLL_S = 0.25
CONNECTION = "semfed"
LOOPBACK = "127.0.0.1,localhost,::1"
LOG = "flower.log"


def simulate(
    scenario: Scenario,
    folder: Path,
    data_root: Path | None,
    callbacks: Sequence[Callback],
    follow: Callable[[Sequence[Callback]], Callable[[], None]],
    *,
    resume: Checkpoint | None = None,
) -> None:
    """Run a scenario in Flower's Ray simulation; the server process writes the run folder.

    Parameters
    ----------
    scenario : Scenario
        Checked.
    folder : Path
        An existing run folder, empty unless the run goes on.
    data_root : Path or None
    callbacks : sequence of Callback
        Told of the run's beginning and end.
    follow : callable
        Returns, for callbacks, what tells them what is new in the run folder whenever it is called.
    resume : Checkpoint, optional
        What to go on from.

    Raises
    ------
    EngineError
        If Flower does not start, or ends the run without success.
    """
    if resume is not None:
        (folder / "summary.json").unlink(missing_ok=True)
    with (
        told_of_run(callbacks, scenario, resume) as told,
        tempfile.TemporaryDirectory(prefix="semfed-flower-") as scratch,
    ):
        app = _write_app(Path(scratch) / "app", scenario, folder, data_root, resume=resume is not None)
        log = Path(scratch) / LOG
        try:
            with _superlink(Path(scratch), log) as environment:
                run_id = _submit(app, len(scenario.clients), environment)
                _follow(run_id, folder, follow(told), log, environment)
        finally:
            if log.exists():  # it does not where Flower could not be started at all
                shutil.move(log, folder / LOG)  # only now: the run folder had to be empty for the server process


def _write_app(app: Path, scenario: Scenario, folder: Path, data_root: Path | None, *, resume: bool) -> Path:
    """Write a Flower app that holds nothing but the scenario."""
    app.mkdir()
    (app / "scenario.toml").write_text(scenario.to_toml(), encoding="utf-8")
    config = {"scenario": "scenario.toml", "out": str(folder), "callbacks": "run-folder", "resume": resume,
              "state-dir": str(folder / FOLDER / CLIENTS), "data-root": str(data_root or "")}  # fmt: skip
    components = {"serverapp": "semfed.flower.server_app:app", "clientapp": "semfed.flower.client_app:app"}
    project = {
        "project": {"name": "semfed-run", "version": "1.0.0", "description": scenario.name, "license": "Apache-2.0",
                    "dependencies": []},
        "tool": {"flwr": {"app": {"publisher": "semfed", "components": components, "config": config}}},
    }  # fmt: skip
    (app / "pyproject.toml").write_text(tomli_w.dumps(project), encoding="utf-8")
    return app


@contextmanager
def _superlink(scratch: Path, log: Path) -> Iterator[dict[str, str]]:
    """Start a SuperLink for simulations; yield the environment in which ``flwr`` finds it."""
    home, neutral = scratch / "home", scratch / "cwd"
    home.mkdir()
    neutral.mkdir()
    port = _free_port()
    connection = {"superlink": {"default": CONNECTION,
                                CONNECTION: {"address": f"127.0.0.1:{port}", "insecure": True}}}  # fmt: skip
    (home / "config.toml").write_text(tomli_w.dumps(connection), encoding="utf-8")
    environment = {
        **_handed_on(os.environ),
        "PATH": _search_path(),  # the SuperLink starts its helpers by name
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # the simulation's Ray listens on 127.0.0.1 only
    }
    command = [_script("flower-superlink"), "--insecure", "--simulation", "--isolation", "subprocess",
               "--host", "127.0.0.1", "--port", str(port), "--disable-runtime-dependency-installation"]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "semfed.engine.guardian", *command],
            cwd=neutral, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            _await_port(port, process, log)
            yield environment
        finally:
            process.terminate()
            process.wait()


def _handed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment Flower's processes get: all but what would send them to somebody else's servers.

    Variables of Ray and Flower may name clusters, homes and ports of the user's other work; a proxy cannot reach this
    machine's loopback, so that is exempt.
    """
    kept = {name: value for name, value in environment.items() if not name.startswith(("RAY_", "FLWR_"))}
    exempt = ",".join(filter(None, [environment.get("no_proxy") or environment.get("NO_PROXY"), LOOPBACK]))
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),  # relative folders would mean others there
        "no_proxy": exempt,
        "NO_PROXY": exempt,
        "RAY_TMPDIR": socket_folder(environment),
    }


def _search_path() -> str:
    return os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])


def _script(name: str) -> str:
    found = shutil.which(name, path=_search_path())
    if found is None:
        raise EngineError(f"{name} is not installed: pip install 'flwr[simulation]', or use --engine inprocess")
    return found


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            probe.settimeout(POLL_S)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(POLL_S)
    last = log.read_text(errors="replace").strip().splitlines()[-1:]
    raise EngineError(f"Flower's SuperLink did not start within {START_S:g} s: {' '.join(last)}")


def _flwr(arguments: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Call the ``flwr`` command and return the JSON that it prints."""
    done = subprocess.run(
        [_script("flwr"), *arguments, "--format", "json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    except ValueError as error:
        raise EngineError(f"'flwr {arguments[0]}' failed: {(done.stderr or done.stdout).strip()[-500:]}") from error
    if not answer.get("success", False):
        raise EngineError(f"'flwr {arguments[0]}' failed: {answer.get('error-message', answer)}")
    return answer


def _submit(app: Path, clients: int, environment: dict[str, str]) -> str:
    federation = f"num-supernodes={clients} client-resources-num-cpus=1 client-resources-num-gpus=0.0"
    answer = _flwr(["run", str(app), CONNECTION, "--federation-config", federation], environment)
    return str(answer["run-id"])


def _follow(run_id: str, folder: Path, pass_on: Callable[[], None], log: Path, environment: dict[str, str]) -> None:
    """Pass rounds on as they appear in the run folder until Flower says that the run has ended."""
    due = time.monotonic() + STATUS_EVERY_S
    while True:
        time.sleep(POLL_S)
        pass_on()
        finished = (folder / "summary.json").is_file()
        if not finished and time.monotonic() < due:
            continue
        asked = time.monotonic()
        status = str(_flwr(["ls", "--run-id", run_id], environment)["runs"][0]["status"])
        answered = time.monotonic()
        due = answered + max(STATUS_EVERY_S, (answered - asked) / STATUS_SHARE)
        if status.startswith("finished"):
            pass_on()
            _keep_log(run_id, log, environment)
            break
    if status != "finished:completed":
        reason = f"see '{folder / LOG}'"
        if (folder / "summary.json").is_file():
            reason = json.loads((folder / "summary.json").read_text(encoding="utf-8")).get("error") or reason
        raise EngineError(f"Flower ended the run as {status.removeprefix('finished:')}: {reason}")


def _keep_log(run_id: str, log: Path, environment: dict[str, str]) -> None:
    """Add what the run itself printed to the SuperLink's log."""
    command = [_script("flwr"), "log", run_id, CONNECTION, "--show"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"\n--- log of run {run_id} ---\n{done.stdout}{done.stderr}")
