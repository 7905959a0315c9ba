"""How settings are called on the axes of figures: with words and a unit, not with a path."""

from semfed.scenario.schema import Scenario
from semfed.scenario.settings import StrictModel, tables

UNITS = {
    "db": "dB", "dbm": "dBm", "s": "s", "hz": "Hz", "khz": "kHz", "mhz": "MHz", "ghz": "GHz",
    "m": "m", "km": "km", "deg": "°", "w": "W", "mw": "mW", "mb": "MB",
}  # fmt: skip
"""Units that end the name of a quantity, by what they are called there."""


def label(setting: str, title: str | None = None) -> str:
    """Describe a setting with its unit.

    Parameters
    ----------
    setting : str
        Its path.
    title : str, optional
        What its field is called in the field's own words, unit included, as `pydantic.Field` has it; without one, the
        last part of the path is read, which ends with the unit of a quantity.

    Examples
    --------
    >>> label("channel.snr_db", "SNR (dB)"), label("channel.doppler_shift_hz"), label("training.batch_size")
    ('SNR (dB)', 'doppler shift (Hz)', 'batch size')
    """
    if title:
        return title
    *words, last = setting.rpartition(".")[2].split("_")
    unit = UNITS.get(last) if words else None
    return f"{' '.join(words)} ({unit})" if unit else " ".join([*words, last])


def labels(scenario: Scenario) -> dict[str, str]:
    """Return the labels of the settings that a scenario's sweep varies, by their paths."""
    if scenario.sweep is None:
        return {}
    titles = {
        ".".join((*path, name)): _title(type(table), name)
        for arm in scenario.arm_names
        for path, table in tables(scenario.arm(arm))
        for name in type(table).model_fields
    }
    return {axis.setting: label(axis.setting, titles.get(axis.setting)) for axis in scenario.sweep.axes}


def _title(table: type[StrictModel], name: str) -> str | None:
    """Return the title of a field; one that is declared again, to have another default, keeps that of its base."""
    fields = (vars(base).get("__pydantic_fields__", {}).get(name) for base in table.__mro__)
    return next((field.title for field in fields if field is not None and field.title), None)
