"""Where tensors live: the device that a scenario asks for."""

import torch

from semfed.errors import ScenarioError


def pick_device(name: str) -> torch.device:
    """Return the device that a scenario asks for.

    Parameters
    ----------
    name : str
        ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:n``.

    Raises
    ------
    ScenarioError
        If a GPU is asked for that is not there.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if count else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ScenarioError(
            f"training.device = {name!r}: this machine offers {count} GPUs to torch; set training.device to 'auto'"
        )
    return device
