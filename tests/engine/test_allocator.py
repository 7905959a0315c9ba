import platform
import subprocess
import sys

import pytest

LOOP = """
import resource, sys
import numpy as np
from semfed.engine.allocator import keep_freed_memory

if "keep" in sys.argv:
    assert keep_freed_memory()
np.ones(1_300_000, np.uint8)  # from here on glibc takes such blocks from its heap
def visit():
    blocks = [np.ones(1_000_000, np.uint8) for _ in range(8)]
visit()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    visit()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_what_one_visit_has_freed_the_next_one_takes_without_asking_the_system() -> None:
    def faults(*arguments: str) -> float:
        command = [sys.executable, "-c", LOOP, *arguments]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert faults("keep") < 10
    assert faults() > 1000, "glibc no longer gives back what is free: the module is not needed any more"
