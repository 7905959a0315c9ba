"""Where Ray may keep its sockets: the path of a Unix socket is short, that of a batch system's TMPDIR often is not."""

import os
from collections.abc import Mapping

LONGEST = 107
"""Bytes that the path of a Unix socket may have."""
SOCKET = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1"
"""What Ray puts behind the folder that it is given, at the longest."""
SHORT = "/tmp"


def socket_folder(environment: Mapping[str, str]) -> str:
    """Return the folder for Ray's sessions: ``RAY_TMPDIR``, else ``TMPDIR``, if sockets have room there, else ``/tmp``.

    Examples
    --------
    >>> socket_folder({"TMPDIR": "/scratch/me"}), socket_folder({"TMPDIR": "/scratch/" + 70 * "x"})
    ('/scratch/me', '/tmp')
    """
    asked = environment.get("RAY_TMPDIR") or environment.get("TMPDIR") or SHORT
    return asked if len(os.fsencode(asked + SOCKET)) <= LONGEST else SHORT
