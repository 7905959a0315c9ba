"""An interruption that Python or a library swallows is one all the same."""

import json
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

import semfed
from semfed.errors import SemfedError
from semfed.events.callbacks import Callback
from semfed.events.interruption import Interruption
from semfed.flower.server.run import told_of_run
from semfed.scenario.overrides import load


class Swallowing:
    """Interrupted while it is finalised, where Python prints an exception and goes on."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def turn_into(error: Exception) -> None:
    """Interrupt code that makes another error of it, as the serialiser of pydantic does."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise error from None


class At(Callback):
    """Does something at a moment of a run, once."""

    def __init__(self, moment: str, what: Any) -> None:
        self.rounds, self.ended, self._what = 0, [], what
        setattr(self, moment, self._act)

    def _act(self, *_: Any) -> None:
        what, self._what = self._what, lambda: None
        what()

    def on_round(self, *_: Any) -> None:
        self.rounds += 1

    def on_run_end(self, error: BaseException | None) -> None:
        self.ended.append(error)


def run(folder: Path, *callbacks: Callback) -> dict[str, Any]:
    """Run until it is interrupted, and return the summary."""
    overrides = ["rounds=5", "training.epochs=1"]
    with pytest.raises(KeyboardInterrupt) as caught:
        semfed.run("digits", seeds=[0], arms=["clustered"], overrides=overrides, out=folder, callbacks=callbacks)
    assert any("go on with: semfed run --resume" in note for note in caught.value.__notes__)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_that_python_forgets_ends_the_run_after_the_round(tmp_path: Path) -> None:
    at = At("on_checkpoint", Swallowing)  # after the records of round 1
    assert run(tmp_path / "run", at)["error"] == "KeyboardInterrupt"
    assert at.rounds == 3  # rounds 0, 1 and 2


@pytest.mark.parametrize("error", [TypeError("Error calling function"), SemfedError("a client failed")], ids=repr)
@pytest.mark.parametrize("moment", ["on_run_start", "on_arm_start", "on_checkpoint"])
def test_an_interruption_that_becomes_another_error_is_still_one(tmp_path: Path, moment: str, error: Exception) -> None:
    at = At(moment, lambda: turn_into(error))
    assert run(tmp_path / "run", at)["error"] == "KeyboardInterrupt"
    assert [type(told) for told in at.ended] == [KeyboardInterrupt]
    assert at.ended[0].__cause__ is error


def test_a_run_that_is_interrupted_before_it_has_a_history_leaves_its_folder_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setattr("semfed.runs.history.History.append", interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            semfed.run("digits", seeds=[0], arms=["clustered"], overrides=["rounds=1"], out=tmp_path / "run")
    semfed.run(resume=tmp_path / "run")
    assert caught.value.__traceback__ is not None, "who keeps the error, as a notebook does, keeps the recorder"


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(ValueError, match="of its own"), Interruption():
        raise ValueError("of its own")


def test_the_signal_is_left_alone_in_threads_and_where_somebody_handles_it() -> None:
    handlers = []

    def look() -> None:
        with Interruption():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        look()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert handlers == [signal.default_int_handler, signal.SIG_IGN]


def test_every_callback_is_told_the_end_and_the_first_problem_is_raised() -> None:
    def fail(text: str) -> None:
        raise OSError(text)

    first, second = At("on_run_end", lambda: fail("no room")), At("on_round", lambda: None)
    scenario = load("digits")
    with pytest.raises(OSError, match="no room"), told_of_run([first, second], scenario, None):
        pass
    assert [str(error) for error in second.ended] == ["no room"]
    first = At("on_run_end", lambda: fail("no room"))
    with pytest.raises(ValueError, match="earlier"), told_of_run([first, second], scenario, None):
        raise ValueError("earlier")
    assert str(second.ended[-1]) == "earlier"
