"""Runs ``flower-supernode`` and ends with it, so that a restart policy sees that it has ended.

    python supernode.py OPTION...

If a SuperLink that is restarted behind a published port cuts a connection in the middle of TLS's handshake, Flower's
main loop ends with an error, but the thread of its own HTTP server keeps the process alive: the SuperNode would stay
away for ever.
"""

import os
import sys
import traceback
from importlib.metadata import entry_points

PROGRAM = "flower-supernode"


def main() -> int:
    """Run it; return the exit status."""
    (command,) = entry_points(group="console_scripts", name=PROGRAM)
    sys.argv[0] = PROGRAM
    try:
        command.load()()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    print(f"{PROGRAM} is no longer at work: its process ends", file=sys.stderr)
    return 1


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
