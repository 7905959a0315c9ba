"""Local differential privacy on what a client sends, configured by the scenario's ``[privacy]`` table."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message
from flwr.clientapp.mod import LocalDpMod

from semfed import seeding
from semfed.algorithms.privacy import private_pmf
from semfed.errors import SemfedError
from semfed.flower.trial import Trial
from semfed.scenario.privacy import Privacy

PMF = "pmf/"


def protect_properties(told: Mapping[str, Any], trial: Trial, client: int) -> dict[str, Any]:
    """Replace the label distribution among a client's properties by a private one.

    Parameters
    ----------
    told : mapping
        What ``get_properties`` answered: ``pmf/<value>`` for all values together, and ``num-examples``.
    trial : Trial
    client : int
    """
    privacy = trial.scenario.privacy
    names = [name for name in told if name.startswith(PMF)]
    if privacy.labels is None or not names:
        return dict(told)
    generator = np.random.default_rng(_sequence(privacy, trial, "label-privacy", client))
    pmf = private_pmf([told[name] for name in names], int(told["num-examples"]), privacy.labels, generator)
    return {**told, **{name: float(p) for name, p in zip(names, pmf, strict=True)}}


def protect_update(message: Message, reply: Message, context: Context, trial: Trial, client: int) -> Message:
    """Clip the update in the reply to a training message and add noise, by Flower's own ``LocalDpMod``.

    Raises
    ------
    SemfedError
        If the reply is not a model update: then the scenario asks for a protection that there is not.
    """
    privacy = trial.scenario.privacy
    if privacy.updates is None:
        return reply
    arrays = reply.content.array_records.get("arrays")
    if not arrays:
        return reply
    if message.metadata.message_type != "train" or list(arrays) != list(message.content.array_records["arrays"]):
        raise SemfedError(
            f"privacy.updates protects updates of a model, but '{message.metadata.message_type}' sends something else: "
            "remove privacy.updates or choose another learner"
        )
    whole = [name for name, array in arrays.items() if np.dtype(array.dtype).kind != "f"]
    if whole:
        raise SemfedError(f"privacy.updates cannot add noise to {whole[0]!r}, whose values are whole numbers")
    _leave_no_zero_update(arrays, message.content.array_records["arrays"])
    settings = privacy.updates
    round_ = int(str(message.content.config_records["config"]["server-round"]))
    mod = LocalDpMod(settings.clipping_norm, settings.sensitivity, settings.epsilon, settings.delta)
    with _global_stream(_sequence(privacy, trial, "update-privacy", client, round_)):
        return mod(message, context, lambda *_: reply)


def _leave_no_zero_update(arrays: ArrayRecord, received: ArrayRecord) -> None:
    """Move one value by the least step where nothing was learnt: ``LocalDpMod`` divides by the update's norm."""
    if all(np.array_equal(array.numpy(), received[name].numpy()) for name, array in arrays.items()):
        name = next(iter(arrays))
        moved = arrays[name].numpy().copy()
        moved.flat[0] += max(np.spacing(abs(moved.flat[0])), np.sqrt(np.finfo(moved.dtype).tiny))
        arrays[name] = Array(moved)


def _sequence(privacy: Privacy, trial: Trial, purpose: str, *indices: int) -> np.random.SeedSequence:
    if privacy.noise == "secret":
        return np.random.SeedSequence()  # the operating system's entropy
    return seeding.sequence(trial.seed, purpose, *indices)


@contextmanager
def _global_stream(sequence: np.random.SeedSequence) -> Iterator[None]:
    """Seed NumPy's global generator, which Flower's noise comes from, and put it back afterwards."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(sequence.generate_state(8))  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
