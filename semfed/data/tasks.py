"""Tasks as label maps: from the class of an image to the value of a semantic variable."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from semfed.errors import DataError
from semfed.scenario import Task
from semfed.scenario.settings import suggest


def label_map(task: Task, name: str, classes: Sequence[str]) -> Tensor:
    """Return the task's label of every class.

    Parameters
    ----------
    task : Task
    name : str
        The task's name, for messages.
    classes : sequence of str
        The data set's classes.

    Returns
    -------
    Tensor, shape (classes,), int64
        Index into ``task.symbols``; -1 for classes that have no value in this task.

    Raises
    ------
    DataError
        If the task names a class that the data set does not have.
    """
    labels = torch.full((len(classes),), -1 if task.rest is None else 0, dtype=torch.int64)
    for value, members in task.named.items():
        for member in members:
            if str(member) not in classes:
                raise DataError(
                    f"tasks.{name}.values: the data set has no class {str(member)!r}; {suggest(str(member), classes)}"
                )
            labels[classes.index(str(member))] = task.symbols.index(value)
    return labels


def values(labels: Tensor, mapping: Tensor) -> tuple[Tensor, Tensor]:
    """Map classes to a task's labels and drop the samples without one.

    Parameters
    ----------
    labels : Tensor, shape (samples,), int64
        Classes of images.
    mapping : Tensor, shape (classes,), int64
        From `label_map`.

    Returns
    -------
    rows : Tensor, shape (kept,), int64
        Which samples have a value.
    values : Tensor, shape (kept,), int64
        Their values.
    """
    mapped = mapping.to(labels.device)[labels]
    rows = torch.nonzero(mapped >= 0).squeeze(1)
    return rows, mapped[rows]


def require_every_value(labels: Tensor, task: Task, name: str, client: str) -> None:
    """Insist that a client has a sample of every named value of its task, unless the task allows that some are missing.

    Parameters
    ----------
    labels : Tensor, shape (samples,), int64
        The client's values, from `values`.
    task : Task
    name, client : str
        For the message.

    Raises
    ------
    DataError
        If a named value does not occur and ``missing`` is ``refuse``.
    """
    if task.missing == "allow":
        return
    counts = torch.bincount(labels.cpu(), minlength=len(task.symbols)).tolist()
    for symbol, count in zip(task.symbols, counts, strict=True):
        if count == 0 and symbol != task.rest:
            raise DataError(
                f"client {client!r} has no sample of value {symbol!r} of its task {name!r}: "
                f"change data.partition or the task, or set tasks.{name}.missing = 'allow'"
            )


def require_choice(labels: Tensor, mapping: Tensor, name: str, part: str) -> None:
    """Insist that there is something to tell apart: with one value alone, whoever always says it is always right.

    Parameters
    ----------
    labels : Tensor, shape (samples,), int64
        Classes of images.
    mapping : Tensor, shape (classes,), int64
        From `label_map`.
    name : str
        The task's name, for the message.
    part : str
        Which images these are, for the message.

    Raises
    ------
    DataError
        If fewer than two of the task's values occur.
    """
    found = int(torch.bincount(values(labels, mapping)[1].cpu()).count_nonzero())
    if found < 2:
        raise DataError(
            f"tasks.{name}: {part} images have {'one value' if found else 'none'} of the task, so there is nothing to "
            "tell apart: change the task, data.partition or the data"
        )


def joint_values(labels: Tensor, named: Mapping[str, Task], classes: Sequence[str]) -> Tensor:
    """Return the values of several tasks for the same samples.

    Parameters
    ----------
    labels : Tensor, shape (samples,), int64
        Classes of images.
    named : mapping of str to Task
        The tasks by their names.
    classes : sequence of str
        The data set's classes.

    Returns
    -------
    Tensor, shape (samples, tasks), int64

    Raises
    ------
    DataError
        If a sample has no value in one of the tasks.
    """
    columns = []
    for name, task in named.items():
        column = label_map(task, name, classes).to(labels.device)[labels]
        if bool((column < 0).any()):
            raise DataError(
                f"tasks.{name}: some images have no value in it, but they serve other tasks too; name a rest"
            )
        columns.append(column)
    return torch.stack(columns, dim=1)
