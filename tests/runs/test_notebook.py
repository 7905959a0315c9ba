"""A run in a notebook: a display that changes, and figures at its end; in a real kernel, and in one that is made up."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest

import semfed
from semfed.events.callbacks import Callback
from semfed.runs import notebook
from semfed.runs.notebook import NotebookProgress

SMALL: dict[str, Any] = {
    "arms": ["clustered", "individual"],
    "seeds": [0],
    "overrides": ["rounds=2", "training.epochs=1"],
}


class Display:
    """What a notebook was told to show in one place, by kinds."""

    def __init__(self, content: dict[str, str], *, raw: bool, display_id: bool) -> None:
        assert raw
        assert display_id
        self.contents = [content]

    def update(self, content: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.contents.append(content)


@pytest.fixture
def displays(monkeypatch: pytest.MonkeyPatch) -> list[Display]:
    """Let this process be taken for a kernel; what it shows is here."""
    made: list[Display] = []

    def display(*args: Any, **options: Any) -> Display:
        made.append(Display(*args, **options))
        return made[-1]

    package, module = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    package.get_ipython = lambda: types.SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    package.version_info = (9, 0)  # type: ignore[attr-defined] # matplotlib asks for it
    package.display, module.display = module, display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(notebook, "EVERY_S", 0.0)
    return made


def test_progress_table_and_figures(displays: list[Display], tmp_path: Path) -> None:
    done = semfed.run("digits", **SMALL, out=tmp_path / "run")
    (display,) = displays
    shown = [" ".join(content["text/plain"].split()) for content in display.contents]
    assert "0/4 rounds, left" in shown[0]
    counts = [next((n for n in range(4, -1, -1) if f"{n}/4 rounds" in text), None) for text in shown[:-1]]
    assert counts == sorted(counts)  # type: ignore[type-var]
    assert set(counts) == {0, 1, 2, 3, 4}
    assert any("individual, seed 0" in text and "s/round, accuracy/average" in text for text in shown)
    assert shown[-1] == ""
    assert all(content["text/html"].startswith("<pre>") for content in display.contents[:-1])
    page = done._repr_html_()
    assert page.count("<tr>") == 1 + 2
    assert 1 <= page.count("<img") == min(notebook_figures(done.folder), 4)
    assert len(repr(done)) < 200 + len(str(done.folder))


def notebook_figures(folder: Path) -> int:
    return len(list((folder / "plots").glob("*.png")))


def test_a_run_that_fails_leaves_its_bar_and_what_was_said(displays: list[Display], tmp_path: Path) -> None:
    class Fail(Callback):
        def on_round(self, arm: str, seed: int, round_: int, *_: Any) -> None:
            if round_ == 2:
                raise ValueError("as asked")

    with pytest.raises(ValueError, match="as asked"):
        semfed.run("digits", **SMALL, out=tmp_path / "run", callbacks=[Fail()])
    assert "1/4 rounds" in " ".join(displays[0].contents[-1]["text/plain"].split())
    assert not (tmp_path / "run" / "plots").exists()


def test_names_are_text(displays: list[Display]) -> None:
    progress = NotebookProgress()
    progress.console.print("<b>bold</b> & [red]brackets[/red]")
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; [red]brackets[/red]" in progress._content()["text/html"]


def test_a_terminal_and_a_script_are_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not notebook.is_here()
    package = types.ModuleType("IPython")
    for shell in (None, types.SimpleNamespace(kernels="none")):
        package.get_ipython = lambda shell=shell: shell  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "IPython", package)
        assert not notebook.is_here()


@pytest.mark.long
def test_in_a_kernel(tmp_path: Path) -> None:
    """The cell's last display is the run's table with its figures; before it stands one display that has changed."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    options = f"arms='individual', seeds=0, overrides='rounds=2', out={str(tmp_path / 'run')!r}"
    code = f"import semfed\nsemfed.run('digits', {options})"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(book, timeout=300, kernel_name="python3").execute()
    outputs = book.cells[0].outputs
    assert [one.output_type for one in outputs] == ["display_data", "execute_result"]
    assert outputs[0].data["text/plain"] == ""  # what was there while it ran has been taken away
    assert outputs[1].data["text/html"].count("<img") >= 1
    assert outputs[1].data["text/plain"].startswith("<Run 'digits': 1 arm, 1 seed; accuracy/average 0.")
