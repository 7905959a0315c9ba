"""Debian packages without installing them: downloaded into a folder, and unpacked into another."""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


class PackagesError(RuntimeError):
    """Packages could not be had; the message says why."""


def release() -> str:
    """Return the name of this machine's release, empty if it is none of Debian's."""
    described = Path("/etc/os-release")
    lines = described.read_text().splitlines() if described.exists() else []
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return values.get("VERSION_CODENAME", "") if values.get("ID") == "debian" else ""


def triplet() -> str:
    """Return the name of the folder of libraries for this machine's processor."""
    return f"{os.uname().machine}-linux-gnu"


def download(scratch: Path, packages: Sequence[str], *, bare: bool = False, release: str | None = None) -> list[Path]:
    """Download packages and what they need; return the files.

    Parameters
    ----------
    scratch : Path
        A folder that is made; the machine's own package lists stay as they are.
    packages : sequence of str
    bare : bool, default False
        Take nothing for installed; else what this machine has does not come again.
    release : str, optional
        Another one than this machine's; then the packages come alone.

    Raises
    ------
    PackagesError
        If a mirror cannot be reached, or has no such package.
    """
    archives = scratch / "cache" / "archives"
    for folder in (scratch / "lists" / "partial", archives / "partial"):
        folder.mkdir(parents=True)
    settings = {"Dir::State::lists": scratch / "lists", "Dir::Cache": scratch / "cache", "APT::Sandbox::User": "root"}
    if bare or release:
        (scratch / "status").touch()
        settings["Dir::State::status"] = scratch / "status"
    if release:
        (scratch / "sources.list").write_text(f"deb [signed-by={KEYS}] {_mirror()} {release} main\n")
        settings |= {"Dir::Etc::sourcelist": scratch / "sources.list", "Dir::Etc::sourceparts": "/dev/null"}
    (scratch / "conf").write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
    how = ["download"] if release else ["install", "--yes", "--no-install-recommends", "--download-only"]
    for arguments in (["update"], [*how, *packages]):
        command = ["apt-get", "-qq", *arguments]
        environment = {**os.environ, "APT_CONFIG": str(scratch / "conf")}
        done = subprocess.run(command, env=environment, cwd=archives, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PackagesError(f"'{shlex.join(command)}' failed: {done.stderr.strip()[-500:]}")
    return sorted(archives.glob("*.deb"))


def unpack(archives: Sequence[Path], target: Path) -> None:
    """Unpack packages into a folder; none of their scripts runs."""
    target.mkdir(exist_ok=True)
    for archive in archives:
        with tempfile.TemporaryFile() as files:
            subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], check=True, stdout=files)
            files.seek(0)
            subprocess.run(["tar", "-x", "--keep-directory-symlink", "-C", target], stdin=files, check=True)


def _mirror() -> str:
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return next(line.split()[0] for line in listed if line.split()[1] == release())
