"""Freed memory that a process keeps for the next client."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of ``malloc.h``."""
LARGEST_MB = 32
"""The largest block that glibc lets come from the heap."""


def keep_freed_memory() -> bool:
    """Ask glibc not to give memory back to the system between two clients, only to ask for it again.

    By default it gives back what is free at the end of its heap beyond twice the size of the largest block so far, and
    arrays of a megabyte add up to that. A visit then begins on pages that have to be emptied and mapped again: a round
    takes up to twice as long, or does not, as blocks happen to lie. Now up to 64 MB stay.

    Returns
    -------
    bool
        Whether it did; other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    asked = ((M_MMAP_THRESHOLD, LARGEST_MB << 20), (M_TRIM_THRESHOLD, 2 * LARGEST_MB << 20))
    return all(libc.mallopt(setting, value) for setting, value in asked)
