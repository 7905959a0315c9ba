"""Which checks a part fails."""

from typing import Any

from semfed.testing.check import CheckFailed, DoesNotApply
from semfed.testing.kit import Kit, Part


def failures(kit: Kit, part: Part, **options: Any) -> dict[str, str]:
    """Return the sentences of the checks that a part fails."""
    found = {}
    for check in kit.checks(part, **options):
        try:
            check()
        except DoesNotApply:
            pass
        except CheckFailed as failure:
            found[check.name] = str(failure)
    return found


def assert_fails(kit: Kit, name: str, part: Part, **options: Any) -> None:
    """Insist that a part fails one check and no other, with one sentence that begins with part and check."""
    found = failures(kit, part, **options)
    assert list(found) == [name], found
    assert f" fails {name}: " in found[name]
    assert "\n" not in found[name]
    assert "mend what the traceback above shows" not in found[name], "a sentence of its own, not what Python raised"
