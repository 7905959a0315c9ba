"""A real container engine of one's own: Docker, Compose and buildx unpacked from Debian's packages, nothing installed.

It runs in namespaces of its own (network, mounts, processes), so that its bridges, firewall rules, mounts and
containers are gone when it is, even if it is killed. It reaches no network: images are made from what is at hand.
Needs root on Debian, a package mirror, and 8 GB of disk.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

from deployment import base_image, debian
from deployment.namespaces import Network

DISK = 8e9
READY_S = 120.0
ENGINE = ("docker.io", "iptables")
NEWER = ("docker-compose", "docker-buildx")
"""Packages of the next release: they need the C library alone."""
NEXT_RELEASE = {"bookworm": "trixie"}
ADDRESS = "192.0.2.1"
"""The machine's address, as documentation writes it: containers reach ports that are published on it."""
CGROUPS = Path("/sys/fs/cgroup")
PROJECT = "semfed"


class EngineError(RuntimeError):
    """No engine could be started here; the message says why."""


class Engine:
    """Docker's engine in a folder; a context manager that leaves nothing behind.

    Attributes
    ----------
    work : Path
        An empty folder of its own; removed at the end.
    environment : dict of str to str
        In which `docker` and `docker compose` are this engine's.
    """

    def __init__(self) -> None:
        self.work = Path(tempfile.mkdtemp(prefix="semfed-engine-"))
        self.network = Network()
        root, self._log = self.work / "root", self.work / "engine.log"
        self.environment = {
            "PATH": os.pathsep.join([f"{root}/usr/bin", f"{root}/usr/sbin", f"{self.work}/sbin", os.environ["PATH"]]),
            "LD_LIBRARY_PATH": f"{root}/usr/lib/{debian.triplet()}",
            "XTABLES_LIBDIR": f"{root}/usr/lib/{debian.triplet()}/xtables",
            "DOCKER_CONFIG": str(self.work / "cli"),
            "DOCKER_HOST": f"unix://{self.work}/docker.sock",
            "HOME": str(self.work / "home"),
            "LANG": "C.UTF-8",
        }
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def why_not() -> str | None:
        """Say what keeps this machine from it, None if nothing is known to."""
        if os.geteuid() != 0:
            return "root is needed"
        if debian.release() not in NEXT_RELEASE or shutil.which("apt-get") is None:
            return f"Debian {' or '.join(NEXT_RELEASE)} is needed"
        if sys.version_info[:2] != base_image.VERSION:
            return f"Python {'.'.join(map(str, base_image.VERSION))} is needed, for {base_image.TAG}"
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if free < DISK:
            return f"{DISK / 1e9:g} GB of disk are needed below {tempfile.gettempdir()}, {free / 1e9:.1f} GB are free"
        return Network.why_not()

    def __enter__(self) -> Self:
        try:
            self.work.chmod(0o755)
            for name in ("cli", "home", "sbin"):
                (self.work / name).mkdir()
            self._unpack()
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def docker(self, *arguments: str | Path, check: bool = True, data: bytes | None = None) -> str:
        """Call ``docker`` and return what it prints."""
        done = subprocess.run(
            ["docker", *arguments], env=self.environment, input=data, capture_output=True, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"docker {shlex.join(map(str, arguments))}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode(errors="replace").strip()

    def make_base_image(self) -> list[str]:
        """Make the base image with the packages of this Python; return their versions, as in a `requirements.txt`."""
        system = self.work / "system"
        base_image.lay_out(system)
        debian.unpack(debian.download(self.work / "apt-system", base_image.PACKAGES, bare=True), system)
        base_image.finish(system)
        distributions = base_image.needed([PROJECT, "pip", "setuptools"])
        distributions.pop(PROJECT)
        options = [
            "-c",
            "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
            "-c",
            "ENV LANG=C.UTF-8",
        ]
        command = ["docker", "import", *options, "-", base_image.TAG]
        with subprocess.Popen(
            command, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        ) as importing:
            assert importing.stdin is not None
            base_image.write(importing.stdin, system, distributions)
            importing.stdin.close()
        if importing.returncode:
            raise RuntimeError(f"docker import ended with {importing.returncode}: {self._tail()}")
        return list(base_image.pinned(distributions))

    def close(self) -> None:
        """End the engine and everything that it runs, and remove its files."""
        if self._process is not None:
            with suppress(RuntimeError):
                running = self.docker("ps", "--quiet", check=False).split()
                if running:
                    self.docker("kill", *running, check=False)
            self._process.kill()  # the first process of its namespace: everything inside goes with it
            self._process.wait()
        self.network.close()
        for group in self._groups():
            with suppress(OSError):
                group.rmdir()
        shutil.rmtree(self.work, ignore_errors=True)

    # -- inside --------------------------------------------------------------------------------------------

    def _unpack(self) -> None:
        root, newer = self.work / "root", self.work / "newer"
        debian.unpack(debian.download(self.work / "apt-engine", ENGINE), root)
        for name in ("iptables", "ip6tables"):
            (self.work / "sbin" / name).symlink_to(root / "usr" / "sbin" / "xtables-nft-multi")
        debian.unpack(debian.download(self.work / "apt-newer", NEWER, release=NEXT_RELEASE[debian.release()]), newer)
        (self.work / "cli" / "cli-plugins").symlink_to(newer / "usr" / "libexec" / "docker" / "cli-plugins")

    def _start(self) -> None:
        host = self.network.__enter__().host("engine")
        hidden = self.work / "hidden"
        for name in ("upper", "scratch"):
            (hidden / name).mkdir(parents=True)
        script = f"""
            mount -t overlay overlay -o lowerdir=/etc,upperdir={hidden}/upper,workdir={hidden}/scratch /etc
            mount -t tmpfs tmpfs /run
            echo 1 >/proc/sys/net/ipv4/ip_forward
            ip address add {ADDRESS}/32 dev lo
            exec dockerd --data-root {self.work}/data --exec-root /run/docker --pidfile /run/docker.pid \
                --host {self.environment["DOCKER_HOST"]} --cgroup-parent /{self.network.name}
        """
        inside = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net=/run/netns/{host.name}",
                  "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
                  "sh", "-ec", script]  # fmt: skip
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                inside, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + READY_S
        while (driver := self.docker("info", "--format", "{{.Driver}}", check=False)) == "":
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise EngineError(f"the engine does not start: {self._tail()}")
            time.sleep(0.5)
        if driver != "overlay2":
            raise EngineError(f"the engine can only store images by '{driver}' here, which copies every layer")
        (self.work / "docker.sock").chmod(0o666)

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-1500:] if self._log.exists() else "no log"

    def _groups(self) -> Iterator[Path]:
        """Give the control groups of the engine's, the innermost first."""
        for top in (*CGROUPS.glob(self.network.name), *CGROUPS.glob(f"*/{self.network.name}")):
            for folder, _, _ in os.walk(top, topdown=False):
                yield Path(folder)
