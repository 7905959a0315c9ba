"""The history of a run as a table of pandas."""

from pathlib import Path
from typing import TYPE_CHECKING

from semfed.errors import SemfedError
from semfed.runs import folder as folders
from semfed.runs.summary import swept
from semfed.scenario import Point, read

if TYPE_CHECKING:
    import pandas

NAMES = ("arm", "seed", "round", "client", "metric", "value")


def frame(folder: Path) -> "pandas.DataFrame":
    """Return the history of a run, one row a measured number.

    Parameters
    ----------
    folder : Path
        A run folder.

    Returns
    -------
    DataFrame
        ``arm``, without the values of a sweep; every swept setting by its dotted name; ``seed`` and ``round``, int64;
        ``client``, missing for what holds for all clients together; ``metric``, as it is recorded; ``value``, float64.
        Texts are categories, so that millions of rows need little memory.

    Raises
    ------
    SemfedError
        Without pandas.
    RunFolderError
        If the folder holds no history, or a damaged one.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise SemfedError("a run's frame() needs pandas, an optional extra: pip install pandas") from error
    columns: dict[str, list[object]] = {name: [] for name in NAMES}
    append = [columns[name].append for name in NAMES]
    for record in folders.each_record(folder):
        fields = (record.arm, record.seed, record.round, record.client, record.metric, record.value)
        for add, value in zip(append, fields, strict=True):
            add(value)
    points = swept(read(folder / folders.SCENARIO))
    arms = pd.Categorical(columns.pop("arm"))
    told = [points.get(arm, Point(arm, {})) for arm in arms.categories]
    made = {"arm": pd.Categorical([point.arm for point in told]).take(arms.codes)}
    for setting in dict.fromkeys(setting for point in points.values() for setting in point.values):
        made[setting] = pd.Series([point.values.get(setting) for point in told]).take(arms.codes).to_numpy()
    for name, kind in (("seed", "int64"), ("round", "int64"), ("client", None), ("metric", None), ("value", "float64")):
        values = columns.pop(name)
        made[name] = pd.Categorical(values) if kind is None else pd.array(values, dtype=kind).to_numpy()
    return pd.DataFrame(made)
