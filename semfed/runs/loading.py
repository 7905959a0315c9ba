"""`semfed.load`: a run from its folder alone."""

from pathlib import Path

from semfed.errors import RunFolderError
from semfed.runs import folder as folders
from semfed.runs import origins
from semfed.runs.api import Run
from semfed.scenario.overrides import load as load_scenario
from semfed.scenario.paths import as_path


def load(folder: str | Path) -> Run:
    """Return the run that a folder holds, as `semfed.run` returned it; it needs no data, and trains nothing.

    Parameters
    ----------
    folder : str or Path
        A run folder. A run that was ended early has a summary of what it measured, too.

    Raises
    ------
    RunFolderError
        If it is no run folder, or a run that goes on or was killed, so that it has no summary yet.
    ScenarioError
        If its scenario names parts that are not installed here.
    """
    path = as_path(folder, "folder").resolve()
    if not (path / folders.SCENARIO).is_file():
        raise RunFolderError(f"'{path}' is not a run folder: it has no {folders.SCENARIO}")
    if not (path / folders.SUMMARY).is_file():
        raise RunFolderError(
            f"run folder '{path}' has no {folders.SUMMARY} yet: let the run end, or go on with semfed run --resume"
        )
    origins.search_again(path)
    return Run(path, load_scenario(path / folders.SCENARIO), folders.read_json(path / folders.SUMMARY))
