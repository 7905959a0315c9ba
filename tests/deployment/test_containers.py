"""The layouts in a real container engine, by the commands of the deployment's README, word for word.

The image is built as a user builds it, from a base image that is made of what is at hand (`deployment/base_image.py`).
All as user 1000 on a machine without a way out.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from deployment.debian import PackagesError
from deployment.engine import Engine, EngineError
from deployment.make_keys import make_node_key

pytestmark = pytest.mark.containers
ROOT = Path(__file__).parents[2]
USER = 1000
LIMIT_S = 1500.0
COMPARED = ("metrics.jsonl", "outcomes.jsonl", "summary.json", "scenario.toml")
IMAGE = f"semfed:{version('flwr')}"
LONGER = "rounds=2 seeds='0' arms='clustered'"


def blocks(heading: str) -> list[tuple[str, str]]:
    """Return what the README says to type below a heading: the label of each block, and its commands."""
    text = (ROOT / "deployment" / "README.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {heading}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    return re.findall(r"^```bash ?(\w*)\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL)


class Machine:
    """A clone of the repository and a shell in it, of a user who reads the README."""

    def __init__(self, engine: Engine, name: str, requirements: list[str]) -> None:
        self.engine, self.clone = engine, engine.work / name / "semfed"
        self.clone.mkdir(parents=True)
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
        )
        for file in filter(os.path.exists, [*map(os.fsdecode, listed.stdout.splitlines())]):
            (self.clone / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, self.clone / file)
        (self.clone / "deployment" / "requirements.txt").write_text("\n".join(requirements))
        self.chown(engine.work / name)

    @staticmethod
    def chown(folder: Path) -> None:
        subprocess.run(["chown", "-R", f"{USER}:{USER}", folder], check=True)

    def type(self, commands: str, *, folder: str = ".", check: bool = True) -> str:
        """Type commands into a shell; return what they print."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands], cwd=self.clone / folder, env=self.engine.environment,
            user=USER, group=USER, extra_groups=[], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{commands}\n{done.stdout[-6000:]}"
        return done.stdout

    def flwr(self, compose: str, *arguments: str) -> dict[str, object]:
        """Call ``flwr`` in the service `control`; return the JSON that it prints."""
        command = ["flwr", *arguments, "--format", "json"]
        out = self.type(f"{compose} run --rm -T control {shlex.join(command)} 2>/dev/null", folder=self.folder(compose))
        answer: dict[str, object] = json.loads(out[out.index("{") :])
        return answer

    @staticmethod
    def folder(compose: str) -> str:
        """Return the folder in which a layout's commands are called."""
        return "deployment" if "-f" in compose else "."

    def submit(self, compose: str, run_config: str) -> str:
        """Start a run of ``digits``; return its id."""
        return str(self.flwr(compose, "run", "/srv/scenarios/digits", "semfed", "--run-config", run_config)["run-id"])

    def finish(self, compose: str, run: str) -> str:
        """Wait until a run has ended; return its status."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            (listed,) = self.flwr(compose, "ls", "--run-id", run, "semfed")["runs"]  # type: ignore[misc]
            if listed["status"].startswith("finished"):
                print(listed, self.type(f"{compose} logs --tail 40 superlink superexec", folder=self.folder(compose)))
                return str(listed["status"])
            time.sleep(3.0)
        raise AssertionError(f"run {run} did not end")

    def run_folder(self, run: str) -> Path:
        """Return a run's folder."""
        return next((self.clone / "runs").glob(f"*-{run}"))

    def await_round(self, run: str, round_: int) -> None:
        """Wait until a run has finished a round."""
        until(lambda: any(f'"round": {round_},' in path.read_text()
                          for path in (self.clone / "runs").glob(f"*-{run}/timing.jsonl")))  # fmt: skip


def until(true: Callable[[], object], seconds: float = LIMIT_S) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    reason = Engine.why_not()
    try:
        if reason:
            raise EngineError(reason)
        started = Engine().__enter__()
    except (EngineError, PackagesError) as error:
        warnings.warn(f"THE DEPLOYMENT IS NOT TESTED IN CONTAINERS: {error}", stacklevel=1)
        pytest.skip(f"no container engine can be started here: {error}")
    try:
        Machine.chown(started.work / "cli")
        Machine.chown(started.work / "home")
        yield started
    finally:
        started.close()
    assert not started.work.exists()
    assert not Path("/run/netns").joinpath(f"{started.network.name}-engine").exists()
    assert started.work.name not in Path("/proc/mounts").read_text()
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{started.network.name}"))


@pytest.fixture(scope="module")
def requirements(engine: Engine) -> list[str]:
    """Make the base image; the versions in it, Flower's aside, which the layouts are told."""
    engine.environment["FLWR_VERSION"] = version("flwr")
    return engine.make_base_image()


@pytest.fixture(scope="module")
def one(engine: Engine, requirements: list[str]) -> Machine:
    """A machine on which the README's commands up to a run folder have been typed."""
    machine = Machine(engine, "one", requirements)
    (_, commands), *_ = blocks("One machine")
    assert "docker compose up" in commands
    assert "flwr run" in commands
    machine.type(commands)
    return machine


@pytest.fixture(scope="module")
def reference(one: Machine) -> Callable[[int], Path]:
    """Return the folder of an in-process run in the same image, by its number of rounds."""

    def made(rounds: int) -> Path:
        folder = one.engine.work / "one" / f"reference-{rounds}"
        if not folder.exists():
            command = (
                f"docker run --rm --user {USER}:{USER} --env OMP_NUM_THREADS=1 --volume {folder.parent}:/out {IMAGE} "
                f"semfed run digits --seeds 0 --arms clustered --set rounds={rounds} --out /out/{folder.name}"
            )
            one.type(command)
        return folder

    return made


def same(folder: Path, reference: Path) -> None:
    for name in COMPARED:
        assert (folder / name).read_bytes() == (reference / name).read_bytes(), name


def test_the_commands_for_one_machine_give_the_run_folder_of_an_in_process_run(
    one: Machine, reference: Callable[[int], Path]
) -> None:
    (folder,) = (one.clone / "runs").glob("digits-*")
    same(folder, reference(1))
    assert folder.stat().st_uid == USER
    assert "--token ***" in json.loads((folder / "environment.json").read_text())["command"]
    logs = one.type("docker compose logs superexec-1")
    assert "no warm process" not in logs


def test_containers_can_do_as_little_as_is_said(one: Machine) -> None:
    for name in one.type("docker compose ps --format '{{.Name}}'").split():
        described = json.loads(one.engine.docker("inspect", name))[0]
        status = one.engine.docker("exec", name, "cat", "/proc/1/status")
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE), name
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE), name
        assert re.search(rf"^Uid:\s+{USER}\s+{USER}", status, re.MULTILINE), name
        assert described["HostConfig"]["ReadonlyRootfs"] is True
        tried = subprocess.run(
            ["docker", "exec", name, "touch", "/usr/x"], env=one.engine.environment, capture_output=True
        )
        assert b"Read-only file system" in tried.stderr


@pytest.mark.parametrize(
    ("service", "keys"),
    [
        ("superlink", "ca.crt server.crt server.key superexec.secret"),
        ("superexec", "ca.crt superexec.secret"),
        ("supernode-1", "ca.crt node node.pub server.crt server.key superexec.secret"),
        ("superexec-1", "ca.crt superexec.secret"),
    ],
)
def test_every_container_reads_its_own_keys(one: Machine, service: str, keys: str) -> None:
    assert one.type(f"docker compose exec -T {service} ls /srv/keys").split() == keys.split()


def reaches(machine: Machine, service: str, host: str, port: int) -> bool:
    program = f"import socket; socket.create_connection(({host!r}, {port}), 3)"
    out = machine.type(f"docker compose exec -T {service} python -c {shlex.quote(program)}", check=False)
    assert not out or re.search("TimeoutError|ConnectionRefusedError|gaierror", out), out
    return not out


def test_apps_reach_their_own_server_and_nothing_else(one: Machine) -> None:
    addresses = {}
    for service in ("superlink", "supernode-2", "superexec"):
        name = one.type(f"docker compose ps --format '{{{{.Name}}}}' {service}").strip()
        networks = json.loads(one.engine.docker("inspect", name))[0]["NetworkSettings"]["Networks"]
        addresses[service] = [network["IPAddress"] for network in networks.values()]
    assert reaches(one, "superexec-1", "supernode-1", 9094)
    assert not reaches(one, "superexec-1", "superlink", 8000)
    assert not any(reaches(one, "superexec-1", address, 8000) for address in addresses["superlink"])
    assert not any(reaches(one, "superexec-1", address, 9095) for address in addresses["supernode-2"])
    assert not reaches(one, "superexec-1", "192.0.2.1", 8000)
    assert reaches(one, "superexec", "superlink", 8000)
    assert not any(reaches(one, "superexec", address, 9095) for address in addresses["supernode-2"])
    assert reaches(one, "supernode-1", "superlink", 8000)


def test_a_supernode_that_is_killed_and_started_costs_nothing(one: Machine, reference: Callable[[int], Path]) -> None:
    compose = "docker compose"
    run = one.submit(compose, LONGER)
    one.await_round(run, 1)
    one.type("docker compose kill supernode-3; docker compose start supernode-3")
    assert one.finish(compose, run) == "finished:completed"
    same(one.run_folder(run), reference(2))
    assert "SuperNode ID" in one.type("docker compose logs supernode-3")


def test_a_run_whose_superexec_was_killed_is_resumed(one: Machine, reference: Callable[[int], Path]) -> None:
    compose = "docker compose"
    run = one.submit(compose, LONGER)
    one.await_round(run, 1)
    one.type("docker compose kill superexec; docker compose start superexec")
    folder = one.run_folder(run)
    (_, commands), *_ = blocks("Runs")
    assert "resume=true out='/srv/runs/digits-RUN'" in commands
    going_on = f"{LONGER} resume=true out='/srv/runs/{folder.name}'"
    again = one.submit(compose, going_on)
    assert one.finish(compose, again) == "finished:completed"
    same(folder, reference(2))


def test_a_warm_process_that_is_killed_in_a_run_is_started_again(
    one: Machine, reference: Callable[[int], Path]
) -> None:
    compose = "docker compose"
    run = one.submit(compose, LONGER)
    one.await_round(run, 1)
    find = "import glob; print(*[p.split('/')[2] for p in glob.glob('/proc/[0-9]*/cmdline') " \
           "if b'/srv/warm/server.py' in open(p, 'rb').read()])"  # fmt: skip
    pids = one.type(f"docker compose exec -T superexec-1 python -c {shlex.quote(find)}").split()
    one.type(f"docker compose exec -T superexec-1 python -c 'import os; os.kill({min(map(int, pids))}, 9)'")
    assert one.finish(compose, run) == "finished:completed"
    same(one.run_folder(run), reference(2))
    assert "another one is started" in one.type("docker compose logs superexec-1")
    assert one.type(f"docker compose exec -T superexec-1 python -c {shlex.quote(find)}").split() not in ([], pids)


def test_the_last_command_leaves_no_container(one: Machine) -> None:
    _, (_, commands), *_ = blocks("One machine")
    assert commands.startswith("docker compose down")
    one.type(commands)
    assert one.engine.docker("ps", "--all", "--quiet") == ""


@pytest.fixture(scope="module")
def two(engine: Engine, one: Machine, requirements: list[str]) -> tuple[Machine, Machine]:
    """Two machines, server and clients, on which the README's commands have been typed."""
    if engine.docker("ps", "--quiet"):
        one.type("docker compose down")
    server, clients = (Machine(engine, name, requirements) for name in ("server", "clients"))
    said = dict(blocks("Two machines"))
    (clients.clone / "deployment" / "keys").mkdir()
    # The network between the machines is this machine's; only `scp` is played.
    copy = f"#!/bin/sh\nexec cp -r $(echo \"$*\" | sed 's|^-r||; s|clients:|{clients.clone.parent}/|')\n"
    (engine.work / "sbin" / "scp").write_text(copy)
    (engine.work / "sbin" / "scp").chmod(0o755)
    Machine.chown(clients.clone)
    server.type(said["server"])
    server.type(said["keys"], folder="deployment")
    clients.type(said["clients"])
    server.type(said["run"], folder="deployment")
    return server, clients


def test_the_commands_for_two_machines_give_the_same_run_folder(
    two: tuple[Machine, Machine], reference: Callable[[int], Path]
) -> None:
    (folder,) = (two[0].clone / "runs").glob("digits-*")
    same(folder, reference(1))
    own = {path.name for path in (two[1].clone / "deployment" / "keys").iterdir()}
    assert own == {f"{kind}-{k}" for kind in ("supernode", "superexec") for k in (1, 2, 3)}


def test_the_superlink_is_restarted_in_the_middle_of_a_run(
    two: tuple[Machine, Machine], reference: Callable[[int], Path]
) -> None:
    server, _ = two
    compose = "docker compose -f server.yml"
    run = server.submit(compose, LONGER)
    server.await_round(run, 1)
    server.type(f"{compose} restart superlink", folder="deployment")
    until(lambda: "(healthy)" in server.type(f"{compose} ps superlink", folder="deployment"))
    assert server.finish(compose, run) == "finished:completed"
    same(server.run_folder(run), reference(2))


def test_a_supernode_that_is_not_registered_is_refused(two: tuple[Machine, Machine]) -> None:
    _, clients = two
    stranger = clients.clone / "stranger"
    shutil.copytree(clients.clone / "deployment" / "keys" / "supernode-2", stranger / "supernode-2")
    make_node_key(stranger / "supernode-2")
    Machine.chown(stranger)
    compose = "docker compose -f clients.yml"
    clients.type(f"{compose} stop supernode-2", folder="deployment")
    run = f"SEMFED_KEYS={stranger} timeout 120 {compose} run --rm -T --no-deps supernode-2"
    out = clients.type(run, folder="deployment", check=False)
    assert "Failed to activate SuperNode" in out
    clients.type(f"{compose} start supernode-2", folder="deployment")
    clients.type(f"{compose} down", folder="deployment")
