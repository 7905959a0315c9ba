"""Write docs/tutorial.ipynb: the tutorial as a notebook, cell by cell, executed in an empty folder.

    make notebook

Texts become Markdown, without links to pages, which do not come along with a notebook. Files are written by
``%%writefile``, and commands run by ``%%bash``; after those that end with an error the notebook goes on.
"""

import json
import os
import re
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.docs.pages import SHELL, Block, parts  # noqa: E402 - the one reader of pages

PAGE, NOTEBOOK = ROOT / "docs" / "tutorial.md", ROOT / "docs" / "tutorial.ipynb"
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)]+\)", re.S)
_REFUSED = "%%bash --no-raise-error"
_BAR, _ANSI = re.compile(r"\x1b\[\?25l.*?\x1b\[\?25h", re.S), re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_OWN = re.compile(r"^\*\*As a notebook\*\*.*?\n\n", re.M | re.S)


def sources(page: Path) -> Iterator[tuple[str, str]]:
    """Yield type and source of every cell of a page's notebook."""
    written: set[str] = set()
    for part in parts(page):
        if isinstance(part, Block):
            yield "code", _code(part, appends=part.title in written).rstrip("\n")
            written.add(part.title)
        elif part.strip():
            yield "markdown", _LINK.sub(r"\1", _OWN.sub("", part)).strip("\n")


def _code(block: Block, *, appends: bool) -> str:
    if block.title:
        return f"%%writefile {'-a ' if appends else ''}{block.title}\n" + ("\n" if appends else "") + block.text
    if block.language not in SHELL:
        return block.text
    commands = [command.rstrip("\n") for command, _ in block.commands]
    return "\n".join([_REFUSED if block.mark == "refused" else "%%bash -e", *commands])


def notebook(page: Path) -> dict[str, Any]:
    """Return a page's notebook before it is executed, in the format 4.5."""
    cells = []
    for number, (kind, source) in enumerate(sources(page)):
        cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": source}
        cells.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def execute(made: dict[str, Any]) -> dict[str, Any]:
    """Return a notebook with what its cells print, executed in an empty folder.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails.
    """
    import nbformat
    from nbclient import NotebookClient

    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if name != "SEMFED_DATA"}
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            nbformat.from_dict(made), timeout=600, resources={"metadata": {"path": folder}}, record_timing=False
        )
        done: dict[str, Any] = json.loads(nbformat.writes(client.execute(env={**kept, "PATH": path})))
    return cleaned(done, folder)


def cleaned(done: dict[str, Any], folder: str) -> dict[str, Any]:
    """Return a notebook whose cells print each stream as a whole, as a file would hold it.

    A kernel asks commands for colours and moving bars as in a terminal; what had gone from there in the end is left
    out here, too, and so is where the folder was, and what libraries warn of where no error is expected.
    """
    for cell in done["cells"]:
        streams: dict[str, str] = {}
        for output in cell.get("outputs", []):
            if output["output_type"] == "stream" and (
                output["name"] == "stdout" or _REFUSED in "".join(cell["source"])
            ):
                streams[output["name"]] = streams.get(output["name"], "") + "".join(output["text"])
        if "outputs" in cell:
            others = [output for output in cell["outputs"] if output["output_type"] != "stream"]
            texts = {name: _ANSI.sub("", _BAR.sub("", text)).replace(folder, "") for name, text in streams.items()}
            told = [{"output_type": "stream", "name": name, "text": _lines(text)} for name, text in texts.items()]
            cell["outputs"] = told + others
    return done


def _lines(text: str) -> list[str]:
    return [line.rstrip() + "\n" for line in text.strip("\n").splitlines()]


if __name__ == "__main__":
    NOTEBOOK.write_text(json.dumps(execute(notebook(PAGE)), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
