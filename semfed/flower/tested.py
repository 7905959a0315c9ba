"""Which versions of Flower this package was tested with: those that its metadata declare."""

from importlib.metadata import requires, version

from packaging.requirements import Requirement

from semfed.errors import EngineError


def require_tested(found: str | None = None) -> None:
    """Refuse a Flower outside the declared range, before anything of it is imported.

    pip does not install such a pair, but an upgrade of Flower alone, or ``--no-deps``, makes one.

    Parameters
    ----------
    found : str, optional
        Flower's version; the installed one by default.

    Raises
    ------
    EngineError
        With the version and the range.
    """
    declared = next(Requirement(text) for text in requires("semfed") or () if text.startswith("flwr"))
    found = found or version("flwr")
    if not declared.specifier.contains(found, prereleases=True):
        raise EngineError(
            f"Flower {found} is installed, and semfed was tested with {_between(declared)}: "
            f"pip install '{declared.name}{declared.specifier}'"
        )


def _between(declared: Requirement) -> str:
    return "flwr " + " and ".join(sorted((str(one) for one in declared.specifier), reverse=True))
