"""What Ray opens is for this machine alone."""

import ipaddress
import subprocess
import sys

import psutil
import pytest

pytestmark = pytest.mark.flower

PROGRAM = """
import sys
from semfed.engine.ray.grid import RayGrid

grid = RayGrid([1.0], workers=1)
grid._hosts[0].restore.remote([])
print("up", flush=True)
sys.stdin.read()
grid.close()
"""


def test_a_private_cluster_listens_on_loopback_only() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == b"up\n"
        family = [process := psutil.Process(driver.pid), *process.children(recursive=True)]
        open_ = [
            (member.name(), connection.laddr.ip)
            for member in family
            for connection in member.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        driver.communicate(b"")
    assert {"gcs_server", "raylet"} <= {name for name, _ in open_}
    assert [entry for entry in open_ if not _is_loopback(entry[1])] == []


def _is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback
