"""Checks of models: what initial weights, averages, training and tests rely on."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semfed import models, seeding
from semfed.models.layers.dropout import draw_from
from semfed.scenario.plugins import Plugin
from semfed.testing.check import Subject, require, skip, without_global_draws
from semfed.testing.kit import Kit, Part
from semfed.training import weights

BATCH = 6


@dataclass(frozen=True)
class ModelSubject(Subject):
    """A model with the sizes that it is built for.

    Attributes
    ----------
    input_shape : tuple of int
        Without the batch axis.
    outputs : int or None
        Numbers that come out; None where the model's own settings decide.
    """

    input_shape: tuple[int, ...]
    outputs: int | None

    def build(self, stream: int = 0) -> nn.Module:
        """Build the network, in evaluation mode, with the initial weights of a stream."""
        return models.build(self.choice, self.input_shape, outputs=self.outputs, stream=(0, "check", stream))

    def learning(self) -> nn.Module:
        """Build the network, in training mode, with masks of its own."""
        network = self.build().train()
        draw_from(network, torch.Generator().manual_seed(1))
        return network

    def batch(self) -> Tensor:
        """Return samples of shape (BATCH, *input_shape)."""
        return torch.randn(BATCH, *self.input_shape, generator=torch.Generator().manual_seed(9))


def _subject(choice: Plugin, input_shape: tuple[int, ...] = (3, 32, 32), outputs: int | None = 8) -> ModelSubject:
    return ModelSubject(choice, input_shape, outputs)


KIT = Kit("models", _subject)


def check_model(part: Part, *, input_shape: tuple[int, ...] = (3, 32, 32), outputs: int | None = 8) -> dict[str, str]:
    """Run all checks of a model.

    Parameters
    ----------
    part : str, type or mapping
        Its name, the class, or a table with ``name`` and settings.
    input_shape : tuple of int
        Of a sample that it is made for.
    outputs : int or None
        Numbers that it is asked for; None where its own settings decide.

    Returns
    -------
    dict of str to str
        By check, ``passed``, or why it does not apply.

    Raises
    ------
    CheckFailed
        With one line for every check that failed.
    """
    return KIT.run(part, input_shape=input_shape, outputs=outputs)


@KIT.check
def output_has_the_shape_that_is_asked_for(subject: ModelSubject) -> None:
    """Check, for the channel or the task decides how many numbers a sample becomes."""
    y = subject.build()(subject.batch())
    width = y.shape[-1] if subject.outputs is None else subject.outputs
    require(
        y.shape == (BATCH, width),
        f"{BATCH} samples come out as {tuple(y.shape)} instead of {(BATCH, width)}: end with a layer of `outputs`",
    )


@KIT.check
def numbers_are_in_single_precision(subject: ModelSubject) -> None:
    """Weights travel, and channels carry, float32."""
    network = subject.build()
    found = {tensor.dtype for tensor in (*network.parameters(), network(subject.batch()))}
    require(found == {torch.float32}, f"weights and output are {sorted(map(str, found))}: use torch.float32 throughout")


@KIT.check
def input_is_not_changed(subject: ModelSubject) -> None:
    """Images are resident, and every epoch reads them again."""
    x = subject.batch()
    before = x.clone()
    subject.build()(x)
    require(torch.equal(x, before), "it writes into its input: leave out operations in place at its first layer")


@KIT.check
def equal_streams_give_equal_weights(subject: ModelSubject) -> None:
    """All clients of a seed start from the same weights, wherever they are built."""
    states = []
    for _ in range(2):
        with seeding.own_globals(0, "check"):
            states.append(subject.build().state_dict())
    same = list(states[0]) == list(states[1]) and all(torch.equal(a, states[1][name]) for name, a in states[0].items())
    require(same, "built twice from one stream, it has other weights: draw from torch's global generator alone")


@KIT.check
def other_streams_give_other_weights(subject: ModelSubject) -> None:
    """Every seed starts somewhere else."""
    one, other = (list(subject.build(stream).parameters()) for stream in (0, 1))
    if not one:
        skip("it has no weights")
    require(
        any(not torch.equal(a, b) for a, b in zip(one, other, strict=True)),
        "two seeds give the same weights: do not seed anything, and leave torch's initialisation in place",
    )


@KIT.check
def global_generators_are_left_alone(subject: ModelSubject) -> None:
    """Check, for what they give depends on who came before, in this process."""
    with without_global_draws("draw initial weights from torch alone, and masks by torch.nn.Dropout"):
        network, x = subject.build(), subject.batch()
        network(x)
        subject.learning()(x)


@KIT.check
def testing_changes_nothing(subject: ModelSubject) -> None:
    """A test before or between rounds must not show in them."""
    network = subject.build()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first, second = network(subject.batch()), network(subject.batch())
    changed = [name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])]
    require(not changed, f"{changed} change in evaluation mode: update buffers only where self.training")
    require(torch.equal(first, second), "two tests of one batch differ: keep nothing between calls")


@KIT.check
def samples_do_not_mix_in_a_test(subject: ModelSubject) -> None:
    """Check, for a result must not depend on which images are tested together."""
    network = subject.build()
    together, alone = network(subject.batch())[:1], network(subject.batch()[:1])
    require(
        torch.allclose(together, alone, rtol=1e-3, atol=1e-4),
        "a sample comes out otherwise in a batch than alone: use statistics of the batch only where self.training",
    )


@KIT.check
def every_weight_gets_a_gradient(subject: ModelSubject) -> None:
    """Check, for what never learns costs bytes in every round."""
    network = subject.learning()
    network(subject.batch()).square().sum().backward()
    idle = [name for name, weight in network.named_parameters() if weight.grad is None]
    require(not idle, f"{idle} get no gradient: use them in forward(), or remove them")
    bad = [name for name, weight in network.named_parameters() if not torch.isfinite(weight.grad).all()]  # type: ignore[arg-type]
    require(not bad, f"the gradient of {bad} is not finite: mind divisions and roots at zero")


@KIT.check
def weights_are_restored_exactly(subject: ModelSubject) -> None:
    """Check, for what travels is the network's ``state_dict()``; nothing else of it may matter."""
    trained, other = subject.learning(), subject.build(1)
    with torch.no_grad():
        trained(subject.batch())  # moves running statistics
    arrays = weights.to_arrays(trained.eval().state_dict())
    weights.fill(other.state_dict(), [arrays[name] for name in other.state_dict()])
    require(
        torch.equal(trained(subject.batch()), other(subject.batch())),
        "with the same state_dict() another network gives another output: register what matters as parameter or buffer",
    )
