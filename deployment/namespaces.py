"""Machines without machines: Linux network namespaces with an address each, joined by a bridge.

Needs root and iproute2. Everything lives in namespaces of its own names, so that removing them removes bridge, cables
and processes too; the machine's own network is not touched.
"""

import os
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

END_S = 10.0
PREFIX = "semfed"
KEPT = Path("/run/netns")


@dataclass(frozen=True)
class Host:
    """A namespace and its address."""

    name: str
    address: str
    cable: str
    """The bridge's end of its cable."""


class Network:
    """Hosts on one bridge; a context manager that leaves nothing behind, nor what a killed process of its kind left."""

    def __init__(self) -> None:
        self.name = f"{PREFIX}-{os.getpid()}"
        self.hosts: dict[str, Host] = {}
        self._spaces: list[str] = []

    @staticmethod
    def why_not() -> str | None:
        """Say what keeps this machine from it, None if nothing does."""
        if any(shutil.which(program) is None for program in ("ip", "unshare", "setpriv")):
            return "iproute2 and util-linux are needed for network namespaces"
        trial = f"{PREFIX}-{os.getpid()}-trial"
        made = subprocess.run(["ip", "netns", "add", trial], capture_output=True, text=True, check=False)
        if made.returncode:
            return f"network namespaces are not permitted here: {made.stderr.strip()}"
        mounted = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", trial], check=False)
        return "mount and pid namespaces are not permitted here" if mounted.returncode else None

    def __enter__(self) -> Self:
        _remove_orphans()
        try:
            self._space("hub")
            self._in_hub("link", "add", "bridge", "type", "bridge")
            self._in_hub("link", "set", "bridge", "up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def host(self, label: str) -> Host:
        """Return the host of that name; the first time it is made and gets an address."""
        if label not in self.hosts:
            number = len(self.hosts) + 1
            space, host = self._space(label), Host(f"{self.name}-{label}", f"10.77.0.{number}", f"cable{number}")
            self._in_hub("link", "add", host.cable, "type", "veth", "peer", "name", "eth0", "netns", space)
            self._in_hub("link", "set", host.cable, "master", "bridge", "up")
            _run("ip", "-n", space, "addr", "add", f"{host.address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _run("ip", "-n", space, "link", "set", device, "up")
            self.hosts[label] = host
        return self.hosts[label]

    def cut(self, label: str) -> None:
        """Pull the cable of a host."""
        self._in_hub("link", "set", self.hosts[label].cable, "down")

    def mend(self, label: str) -> None:
        """Put it in again."""
        self._in_hub("link", "set", self.hosts[label].cable, "up")

    def deafen(self, label: str, speaker: str) -> None:
        """Lose what one host sends to another, while it still hears what that one sends."""
        wrong = ("lladdr", "02:00:00:00:00:00", "nud", "permanent")
        _run("ip", "-n", self.hosts[speaker].name, "neigh", "replace", self.hosts[label].address, *wrong, "dev", "eth0")

    def undeafen(self, label: str, speaker: str) -> None:
        """Let a host hear the other again."""
        _run("ip", "-n", self.hosts[speaker].name, "neigh", "del", self.hosts[label].address, "dev", "eth0")

    def close(self) -> None:
        """Kill whatever still runs in the namespaces, and remove them."""
        for space in reversed(self._spaces):
            deadline = time.monotonic() + END_S
            while time.monotonic() < deadline:
                listed = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True, check=False)
                pids = [int(word) for word in listed.stdout.split()]
                if not pids:
                    break
                for pid in pids:
                    with suppress(ProcessLookupError):
                        os.kill(pid, 9)
                time.sleep(0.1)
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)
        self._spaces, self.hosts = [], {}

    def _space(self, label: str) -> str:
        space = f"{self.name}-{label}"
        _run("ip", "netns", "add", space)
        self._spaces.append(space)
        return space

    def _in_hub(self, *command: str) -> None:
        _run("ip", "-n", f"{self.name}-hub", *command)


def _remove_orphans() -> None:
    for space in KEPT.glob(f"{PREFIX}-*-*"):
        owner = space.name.split("-")[1]
        if owner.isdigit() and not Path("/proc", owner).exists():
            subprocess.run(["ip", "netns", "del", space.name], capture_output=True, check=False)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"'{' '.join(command)}' failed: {done.stderr.strip()}")
