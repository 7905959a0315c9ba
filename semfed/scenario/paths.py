"""Paths as a person writes them."""

import os
from pathlib import Path

from semfed.errors import SemfedError


def as_path(value: str | os.PathLike[str], what: str = "a path") -> Path:
    """Return a path in which ``~`` stands for the home folder; that of a user who is unknown stays as it is written.

    Parameters
    ----------
    value : str or PathLike
    what : str
        What it is a path of, for the error.

    Raises
    ------
    SemfedError
        If it is something else, or has a character that no path can have.
    """
    if not isinstance(value, str | os.PathLike) or "\0" in str(value):
        raise SemfedError(f"{what} = {value!r}: give a path")
    return Path(os.path.expanduser(value))
