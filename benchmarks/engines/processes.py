"""How the benchmark starts what it measures, and what it notes about the machine."""

import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch

FOLDER = Path(__file__).parent
MARK = "SEMFED_BENCHMARK"
SAMPLE_S = 0.25
PACKAGES = ("semfed", "flwr", "ray", "torch", "numpy")


def measure(command: Sequence[str], *, memory: bool = False) -> dict[str, Any]:
    """Run a script of this folder in a fresh process and return what its last line of output says.

    Parameters
    ----------
    command : sequence of str
        Interpreter, script and options.
    memory : bool
        Also sample the memory of all processes that it starts (``peak_pss_mb``), which disturbs times.

    Raises
    ------
    RuntimeError
        If it fails; with the end of what it printed.
    """
    mark = f"{os.getpid()}-{time.time_ns()}"
    scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {
        **os.environ,
        MARK: mark,
        "PATH": scripts,
        "PYTHONPATH": str(FOLDER),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    load = os.getloadavg()[0]
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=FOLDER, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    peak: list[float] = []
    sampler = threading.Thread(target=_sample, args=(process, mark, peak), daemon=True)
    if memory:
        sampler.start()
    output, errors = process.communicate()
    if memory:
        sampler.join()
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if process.returncode or not lines:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{(errors or output)[-2000:]}")
    found: dict[str, Any] = json.loads(lines[-1])
    found |= {"process_s": round(time.perf_counter() - started, 3), "load": round(load, 2)}
    if memory:
        found["peak_pss_mb"] = max(peak)
    return found


def _sample(process: subprocess.Popen[str], mark: str, peak: list[float]) -> None:
    """Note the memory of all processes that bear the mark, which Ray's bear, too, until the first one ends."""
    marked: dict[tuple[int, float], bool] = {}
    while process.poll() is None:
        total = 0
        for other in psutil.process_iter():
            try:
                key = (other.pid, other.create_time())
                if key not in marked:
                    marked[key] = other.environ().get(MARK) == mark
                if marked[key]:
                    total += other.memory_full_info().pss
            except (psutil.Error, OSError):
                continue
        peak.append(total / 2**20)
        time.sleep(SAMPLE_S)


def machine() -> dict[str, Any]:
    """Describe the machine, its load and the versions."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    try:
        names = [
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
    except OSError:
        names = [platform.processor()]
    return {
        "cpu": names[0] if names else "unknown",
        "cores": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())],
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
        "versions": versions,
    }
