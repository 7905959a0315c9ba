"""What a model plugin is, and how its weights come about."""

from typing import Any, Protocol

from torch import nn

from semfed import seeding
from semfed.errors import ScenarioError, SemfedError
from semfed.models.layers.dropout import seeded
from semfed.scenario.foreign import ForeignSettings, reason
from semfed.scenario.plugins import Plugin


class Model(Protocol):
    """A plugin that makes networks of one architecture.

    A class attribute ``Settings`` declares its options; the class is constructed with them.
    """

    settings: Any

    def build(self, input_shape: tuple[int, ...], outputs: int | None) -> nn.Module:
        """Make a network for inputs of that shape (without the batch axis).

        `outputs` is the size of the last axis where the caller decides it (a decoder's values), else None.
        """


def require_width(choice: Plugin, outputs: int | None, why: str = "its place") -> None:
    """Insist that a model does not ask for another width than the one that is decided for it.

    Parameters
    ----------
    choice : Plugin
    outputs : int or None
        What is decided, None if the model decides.
    why : str
        What decides it, for the message.

    Raises
    ------
    ScenarioError
        If the two differ.
    """
    foreign = isinstance(choice.settings, ForeignSettings)  # its width is measured: the name says nothing
    own = None if foreign else getattr(choice.settings, "outputs", None)
    if own is not None and outputs is not None and own != outputs:
        raise ScenarioError(
            f"model {choice.name!r}: outputs = {own}, but {why} decides for {outputs}; leave outputs out"
        )


def last_width(
    model: str, outputs: int | None, own: int | None, remedy: str = "set the width of its last layer"
) -> int:
    """Return how wide a built-in model's last layer is: as is decided for it, else as its settings say.

    Parameters
    ----------
    model : str
        Its name, for the message.
    outputs, own : int or None
        What is decided, and what the settings say.
    remedy : str
        What to do if there is neither.

    Raises
    ------
    ScenarioError
        If there is neither.
    """
    width = outputs or own
    if width is None:
        raise ScenarioError(f"model {model!r} needs 'outputs' here: {remedy}")
    return width


def build(
    choice: Plugin, input_shape: tuple[int, ...], *, outputs: int | None = None, stream: tuple[int, str, int]
) -> nn.Module:
    """Make a network whose initial weights depend on a stream only; it is in evaluation mode until it learns.

    Parameters
    ----------
    choice : Plugin
        A model of the scenario.
    input_shape : tuple of int
        Without the batch axis.
    outputs : int, optional
        Size of the last axis, where the model's settings leave it open.
    stream : (seed, purpose, index)
        The random stream of the weights; see `semfed.seeding`.

    Raises
    ------
    ScenarioError
        If the model cannot be made for such inputs.
    """
    require_width(choice, outputs)
    try:
        plugin: Model = choice.make()
        with seeding.own_globals(*stream), seeding.initialisation(*stream):  # NumPy's and Python's, torch's
            return seeded(plugin.build(input_shape, outputs)).eval()
    except SemfedError:
        raise
    except Exception as error:
        raise ScenarioError(
            f"model {choice.name!r} cannot be made for inputs of shape {input_shape} ({reason(error)}): change its "
            "settings, or name another"
        ) from error
