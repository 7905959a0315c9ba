"""The tutorial's notebook is the tutorial, and does what it shows."""

import json
import re
import sys
from typing import Any

import pytest

from tests.docs.pages import ROOT

sys.path.append(str(ROOT / "docs"))

import as_notebook as notebook

TOLD: dict[str, Any] = json.loads(notebook.NOTEBOOK.read_text(encoding="utf-8"))


def printed(told: dict[str, Any]) -> list[str]:
    """Return what every cell prints, without what differs from run to run: times, and figures of the machine."""
    texts = []
    for cell in told["cells"]:
        outputs = cell.get("outputs", [])
        assert all(output["output_type"] == "stream" for output in outputs), cell["source"]
        text = "".join("".join(output["text"]) for output in outputs)
        texts.append(re.sub(r" +|-+", " ", re.sub(r"\d+(\.\d+)? s\\b", "TIME", text)))
    return texts


def test_it_is_the_page_cell_by_cell() -> None:
    """Else: make notebook."""
    wanted = [(cell["cell_type"], cell["source"]) for cell in notebook.notebook(notebook.PAGE)["cells"]]
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in TOLD["cells"]] == wanted


def test_all_of_it_has_been_executed_in_order() -> None:
    counts = [cell["execution_count"] for cell in TOLD["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert len(counts) >= 20
    shown = "".join(printed(TOLD))
    assert shown.count("error: ") == 3, "the page shows three commands that are refused"
    assert "missed events" in shown
    assert "Traceback" not in shown


@pytest.mark.long
def test_it_prints_what_it_shows() -> None:
    again = printed(notebook.execute(notebook.notebook(notebook.PAGE)))
    for cell, before, after in zip(TOLD["cells"], printed(TOLD), again, strict=True):
        assert after == before, "".join(cell["source"])
