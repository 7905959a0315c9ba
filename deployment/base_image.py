"""Makes the image that the Dockerfile starts from, `python:3.11-slim`, without a registry.

It is made of Debian's packages, unpacked without running their scripts, and of the interpreter and packages at hand,
so that building the project's image installs nothing anew. Libraries that only a GPU needs stay away.
"""

import io
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import IO

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TAG = "python:3.11-slim"
VERSION = (3, 11)
PACKAGES = (
    "base-files", "bash", "coreutils", "dash", "grep", "libc-bin", "sed",  # what scripts call
    "libbz2-1.0", "libexpat1", "libffi8", "liblzma5", "libncursesw6", "libreadline8", "libsqlite3-0", "libssl3",
    "libstdc++6", "libuuid1", "zlib1g",  # what Python's modules are linked to
)  # fmt: skip
MERGED = ("bin", "lib", "lib64", "sbin")
LEFT_OUT = re.compile(r"triton/(?!__init__)|torch/(include|test)/|.*/libcudnn_(engines|heuristic).*|.*\.a$")
"""Large files that are loaded for a GPU only, or for compiling."""
SCRIPTS = "../../../bin/"


def needed(names: list[str]) -> dict[str, Distribution]:
    """Return the installed distributions that some need, and those themselves, by name."""
    found: dict[str, Distribution] = {}
    waiting = [(Requirement(name), "") for name in names]
    seen = set[tuple[str, frozenset[str]]]()
    while waiting:
        requirement, extra = waiting.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen or (requirement.marker and not requirement.marker.evaluate({"extra": extra})):
            continue
        seen.add(key)
        try:
            found[key[0]] = distribution(key[0])
        except PackageNotFoundError:
            continue  # of another platform's
        for line in found[key[0]].requires or []:
            waiting += [(Requirement(line), name) for name in ("", *requirement.extras)]
    return found


def write(target: IO[bytes], system: Path, distributions: Mapping[str, Distribution]) -> None:
    """Write the image's files as a tar archive.

    Parameters
    ----------
    target : binary file
    system : Path
        A folder of unpacked Debian packages.
    distributions : mapping of str to Distribution
        Go to the image's own Python.
    """
    interpreter = Path(sys.base_prefix)
    version = f"python{VERSION[0]}.{VERSION[1]}"
    with tarfile.open(fileobj=target, mode="w|") as archive:
        archive.add(system, arcname=".", filter=_owned_by_root)
        for pattern in (f"bin/{version}", "bin/python3", "bin/python", f"lib/{version}"):
            for path in interpreter.glob(pattern):
                archive.add(path, f"usr/local/{path.relative_to(interpreter)}", filter=_without_packages)
        site = f"usr/local/lib/{version}/site-packages"
        for own in distributions.values():
            for file in own.files or []:
                path, name = Path(str(own.locate_file(file))), str(file)
                if not path.is_file() or LEFT_OUT.match(name):
                    continue
                if name.startswith(SCRIPTS):
                    _add_script(archive, path, f"usr/local/bin/{name.removeprefix(SCRIPTS)}")
                else:
                    archive.add(path, f"{site}/{name}", filter=_owned_by_root)


def lay_out(system: Path) -> None:
    """Make the folders and files that the packages' own scripts would make."""
    for name in MERGED:
        (system / "usr" / name).mkdir(parents=True, exist_ok=True)
        (system / name).symlink_to(f"usr/{name}")
    for name in ("etc", "srv", "tmp", "var/tmp", "root", "proc", "sys", "dev"):
        (system / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (system / name).chmod(0o1777)
    (system / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (system / "etc" / "group").write_text("root:x:0:\n")


def finish(system: Path) -> None:
    """Let the dynamic linker find what was unpacked, and the interpreter's library."""
    own = system / "usr" / "local" / "lib"
    own.mkdir(parents=True, exist_ok=True)
    for library in Path(sys.base_prefix, "lib").glob("libpython3*.so*"):
        shutil.copy2(library, own, follow_symlinks=False)
    (system / "etc" / "ld.so.conf").write_text(
        "/usr/local/lib\n/usr/lib/x86_64-linux-gnu\n/usr/lib/aarch64-linux-gnu\n"
    )
    subprocess.run(["chroot", system, "ldconfig"], check=True)


def pinned(distributions: Mapping[str, Distribution]) -> Iterator[str]:
    """Give the lines of a `requirements.txt` of installed versions, Flower's left out."""
    for name, own in sorted(distributions.items()):
        if name != "flwr":
            yield f"{name}=={own.version}"


def _owned_by_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info


def _without_packages(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = Path(info.name).parts
    if parts[-1].endswith(".a") or {"site-packages", "test", "idlelib", "lib2to3"} & set(parts):
        return None
    return _owned_by_root(info)


def _add_script(archive: tarfile.TarFile, path: Path, name: str) -> None:
    content = path.read_bytes()
    if content.startswith(b"#!"):
        content = b"#!/usr/local/bin/python3\n" + content.partition(b"\n")[2]
    info = _owned_by_root(tarfile.TarInfo(name))
    info.size, info.mode = len(content), 0o755
    archive.addfile(info, io.BytesIO(content))
