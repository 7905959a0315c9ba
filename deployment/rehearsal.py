"""Runs a compose layout without Docker: the same commands as processes, every host with a network of its own.

    python -m deployment.rehearsal scenarios/clustered-mnist "seeds='0' arms='clustered' rounds=2"

A service gets its command, environment, mounts and host names from the compose files. Its file system is this machine's
with a ``/srv`` of its own, which holds what the files mount there, and it cannot see other services' processes.
Needs root, iproute2, util-linux and an installed semfed.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from deployment.compose import Mount, Service, load
from deployment.namespaces import Network

HERE = Path(__file__).parent
ONE_MACHINE = HERE.parent / "docker-compose.yml"
READY_S = 300.0
END_S = 20.0
STATUS_EVERY_S = 30.0
TERMINAL = "finished"
RESTARTED = "unless-stopped"

Place = Callable[[str], str]
"""From a service to the label of its host."""


class RehearsalError(RuntimeError):
    """A service did not do what the layout says."""


class Rehearsal:
    """Services of compose files as processes; a context manager that leaves nothing behind.

    Parameters
    ----------
    scratch : Path
        An existing folder for keys, runs, volumes and logs.
    data_root : Path or None
        Where the data sets are.
    layouts : sequence of sequence of Path
        Compose files laid over each other; more than one layout, where there is more than one machine.
    place : callable, optional
        On which host a service runs; every service is a host of its own by default, as containers are.
    variables : mapping of str to str, optional
        Of the compose files.
    """

    def __init__(
        self,
        scratch: Path,
        data_root: Path | None,
        layouts: Sequence[Sequence[Path]] = ((ONE_MACHINE,),),
        *,
        place: Place = lambda service: service,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.scratch, self.place = scratch, place
        self.keys, self.runs = scratch / "keys", scratch / "runs"
        for folder in ("keys", "runs", "no-data"):
            (scratch / folder).mkdir()
        self.network = Network()
        self.services: dict[str, Service] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._variables = {
            "SEMFED_USER": "0:0",
            "SEMFED_KEYS": str(self.keys),
            "SEMFED_RUNS": str(self.runs),
            "SEMFED_STATES": str(scratch / "states"),
            "SEMFED_DATA": str(data_root or scratch / "no-data"),
            **(variables or {}),
        }
        self._layouts = layouts

    def __enter__(self) -> Self:
        reason = Network.why_not()
        if reason:
            raise RehearsalError(reason)
        self.network.__enter__()
        try:
            hosts = [self.network.host(self.place("superlink"))]
            variables = {"SEMFED_SERVER": hosts[0].address, **self._variables}
            for layout in self._layouts:
                self.services |= load(layout, variables)
            for name, service in self.services.items():
                self.network.host(self.place(name))
                for mount in service.mounts:
                    if mount.target == "/srv/states":
                        Path(mount.source).mkdir(parents=True)
        except BaseException:
            self.network.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what a test or a user does ------------------------------------------------------------------------

    def up(self, services: Iterable[str] | None = None) -> None:
        """Start services, all by default, each after what it depends on."""
        for name in services or self.services:
            self._start_after_others(name)

    def start(self, name: str, *, mounts: Mapping[str, Path] | None = None) -> None:
        """Start one service, or start it again; `mounts` replaces sources, by target."""
        self.processes[name] = self._spawn(self.services[name], self.services[name].command, name, mounts)

    def kill(self, name: str) -> None:
        """End a service as a power cut does."""
        process = self.processes.pop(name)
        process.kill()  # init of its pid namespace goes with it, and everything inside
        process.wait()

    def come_back(self, name: str, seconds: float = READY_S) -> None:
        """Start a killed SuperNode as its restart policy does: until the SuperLink no longer takes it for online."""
        before, deadline = len(self.log(name)), time.monotonic() + seconds
        self.start(name)
        while "SuperNode ID" not in self.log(name)[before:]:
            if time.monotonic() > deadline:
                raise RehearsalError(f"{name} did not come back within {seconds:g} s: {self.log(name)[-2000:]}")
            if self.processes[name].poll() is not None:
                self.start(name)
            time.sleep(1.0)

    def log(self, name: str) -> str:
        """Return what a service wrote."""
        path = self.scratch / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def await_log(self, name: str, text: str, seconds: float = READY_S, *, after: int = 0) -> None:
        """Wait until a service writes a text, in its log's part that begins with character `after`."""
        deadline = time.monotonic() + seconds
        while text not in self.log(name)[after:]:
            if time.monotonic() > deadline:
                raise RehearsalError(f"{name} did not write {text!r} within {seconds:g} s: {self.log(name)[-2000:]}")
            time.sleep(0.2)

    def flwr(self, *arguments: str) -> dict[str, Any]:
        """Call ``flwr`` as the service ``control`` and return the JSON that it prints."""
        out, err = self._control("flwr", *arguments, "--format", "json")
        try:
            answer: dict[str, Any] = json.loads(out[out.index("{") :])
        except ValueError as error:
            raise RehearsalError(f"flwr {shlex.join(arguments)}: {out + err}") from error
        return answer

    def run_log(self, run_id: str) -> str:
        """Return what a run's server process has written so far."""
        return "".join(self._control("flwr", "log", run_id, "semfed", "--show"))

    def submit(self, app: str, run_config: str) -> str:
        """Start a run of an app below ``/srv`` and return its id."""
        answer = self.flwr("run", app, "semfed", "--run-config", run_config)
        if not answer.get("success"):
            raise RehearsalError(f"flwr run: {answer}")
        return str(answer["run-id"])

    def status(self, run_id: str) -> tuple[str, str]:
        """Return a run's status, such as ``finished:completed``, and the reason that Flower gives."""
        listed = self.flwr("ls", "--run-id", run_id, "semfed")
        run = listed["runs"][0]
        return str(run["status"]), json.dumps(run)

    def finish(self, run_id: str, seconds: float) -> str:
        """Wait until a run ends; return its status."""
        deadline = time.monotonic() + seconds
        asked = time.monotonic()
        while time.monotonic() < deadline:
            ended = any(self.runs.glob(f"*-{run_id}/summary.json"))
            if ended or time.monotonic() - asked > STATUS_EVERY_S:  # asking costs seconds of a core
                status, asked = self.status(run_id)[0], time.monotonic()
                if status.startswith(TERMINAL):
                    return status
            time.sleep(1.0)
        raise RehearsalError(f"run {run_id} did not end within {seconds:g} s:\n{self.log('superexec')[-3000:]}")

    def folder(self, run_id: str) -> Path:
        """Return a run's folder."""
        return next(self.runs.glob(f"*-{run_id}"))

    def await_round(self, run_id: str, round_: int, seconds: float) -> None:
        """Wait until a run has finished a round."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for timing in self.runs.glob(f"*-{run_id}/timing.jsonl"):
                if f'"round": {round_},' in timing.read_text():
                    return
            time.sleep(0.5)
        raise RehearsalError(f"round {round_} was not over within {seconds:g} s:\n{self.log('superexec')[-3000:]}")

    def close(self) -> None:
        """End everything."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + END_S
        for process in self.processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, min(1.0, deadline - time.monotonic())))
            process.kill()
            process.wait()
        self.processes = {}
        self.network.close()

    # -- inside --------------------------------------------------------------------------------------------

    def _control(self, *command: str) -> tuple[str, str]:
        out, err = self._spawn(self.services["control"], command, None).communicate(timeout=READY_S)
        return out.decode(errors="replace"), err.decode(errors="replace")

    def _start_after_others(self, name: str) -> None:
        if name in self.processes:
            return
        service = self.services[name]
        for other, condition in service.depends_on.items():
            self._start_after_others(other)
            if condition == "service_completed_successfully":
                self._await_success(other)
            elif condition == "service_healthy":
                self._await_health(other)
        self.start(name)
        if service.settings.get("restart") != RESTARTED:
            self._await_success(name)

    def _await_success(self, name: str) -> None:
        code = self.processes[name].wait(READY_S)
        if code:
            raise RehearsalError(f"{name} ended with {code}: {self.log(name)[-2000:]}")

    def _await_health(self, name: str) -> None:
        """Wait until the command that the layout says finds a service up."""
        service, deadline = self.services[name], time.monotonic() + READY_S
        while self._spawn(service, service.health, f"{name}.health").wait(READY_S):
            if time.monotonic() > deadline:
                raise RehearsalError(f"{name} was not up within {READY_S:g} s: {self.log(name)[-2000:]}")
            time.sleep(1.0)

    def _spawn(
        self,
        service: Service,
        command: Sequence[str],
        log: str | None,
        mounts: Mapping[str, Path] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a command in the host of a service; its output goes to a log, or to pipes."""
        hosts = self.scratch / f"{service.name}.hosts"
        hosts.write_text(self._host_names(service), encoding="utf-8")
        script = ["set -e", "mount -t tmpfs tmpfs /srv", "mkdir /srv/home /srv/state",
                  f"mount --bind {shlex.quote(str(hosts))} /etc/hosts"]  # fmt: skip
        for mount in service.mounts:
            source = (mounts or {}).get(mount.target) or self._source(mount)
            here, there = shlex.quote(str(source)), shlex.quote(mount.target)
            script.append(f"touch {there}" if source.is_file() else f"mkdir -p {there}")
            script.append(f"mount --bind {here} {there}")
            if mount.read_only:
                script.append(f"mount -o remount,bind,ro {there}")
        script += ["cd /srv/home", f"exec {shlex.join(command)}"]
        environment = {
            "HOME": "/srv/home",
            "TMPDIR": "/srv/home",
            "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]),
            "LANG": "C.UTF-8",
            **service.environment,
        }
        host = self.network.host(self.place(service.name))
        inside = ["setpriv", "--pdeathsig", "KILL",  # if this process is killed, nothing stays behind
                  "ip", "netns", "exec", host.name, "unshare", "--mount", "--pid", "--fork", "--kill-child",
                  "--mount-proc", "sh", "-c", "\n".join(script)]  # fmt: skip
        if log is None:
            return subprocess.Popen(inside, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with (self.scratch / f"{log}.log").open("ab") as output:
            return subprocess.Popen(
                inside, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    def _host_names(self, service: Service) -> str:
        """Return ``/etc/hosts``: who else is in the service's networks, and what the layout adds."""
        own = self.place(service.name)
        lines = ["127.0.0.1 localhost"]
        for name in self._layout_of(service.name):
            if name == service.name or set(self.services[name].networks) & set(service.networks):
                place = self.place(name)
                address = "127.0.0.1" if place == own else self.network.hosts[place].address
                lines.append(f"{address} {name}")
        lines += [f"{address} {name}" for name, address in service.extra_hosts.items()]
        return "\n".join(lines) + "\n"

    def _layout_of(self, name: str) -> list[str]:
        for layout in self._layouts:
            members = list(load(layout, {"SEMFED_SERVER": "unused", **self._variables}))
            if name in members:
                return members
        raise RehearsalError(f"no layout has a service {name!r}")

    def _source(self, mount: Mount) -> Path:
        path = self.scratch / "volumes" / mount.source if mount.named else Path(mount.source)
        if not path.exists() and not mount.made:
            raise RehearsalError(f"{path} is not there")
        if mount.named or not path.exists():
            path.mkdir(parents=True, exist_ok=True)
        return path


def main(app: str, run_config: str) -> int:
    """Run an app of this project in the layout for one machine and tell its status."""
    data = os.environ.get("SEMFED_DATA")
    scratch = Path(tempfile.mkdtemp(prefix="semfed-rehearsal-"))
    with Rehearsal(scratch, Path(data).resolve() if data else None) as rehearsal:
        rehearsal.up()
        run_id = rehearsal.submit(f"/srv/{app}", run_config)
        status = rehearsal.finish(run_id, 3600.0)
        print(f"{status}: {rehearsal.folder(run_id)}, logs in {scratch}")
    return 0 if status == "finished:completed" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "seeds='0'"))
