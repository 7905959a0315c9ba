"""Common units of several clients trained side by side, with stacked weights."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence

from torch import Tensor

from semfed import training
from semfed.models.layers.dropout import draw_from
from semfed.training import weights
from semfed.training.fused.stacked import Cohort
from semfed.training.objective import Batch, Networks, Send
from semfed.training.optimizers import make_optimizer

from .common_unit import CommonObjective, CommonStart, CommonTraining, CommonUnit, drawing

Task = tuple[CommonUnit, CommonStart]


def train_ahead(units: Sequence[Task], size: int | None) -> None:
    """Train common units that are alike, and let the process know the results, where `CommonUnit.train` finds them.

    Parameters
    ----------
    units : sequence of (CommonUnit, CommonStart)
        Of one process.
    size : int or None
        Most of them side by side.
    """
    groups = defaultdict[Hashable, list[Task]](list)
    for unit, start in units:
        if not unit.known.has(start.key):
            sizes = tuple(training.batch_sizes(len(start.rows), start.settings.batch_size))
            groups[start.likeness, sizes, _steps_before(unit, start)].append((unit, start))
    for group in groups.values():
        count = size or len(group)
        for some in (group[first : first + count] for first in range(0, len(group), count)):
            for (unit, start), result in zip(some, _train(some) if len(some) > 1 else (), strict=False):
                unit.known.put(start.key, result)


def _networks(unit: CommonUnit) -> Networks:
    return Networks({"common": unit.network}, {"auxiliary": unit.build_auxiliary()})


def _moments(unit: CommonUnit, start: CommonStart) -> dict[str, Tensor]:
    if not start.moments:
        return {}
    return weights.unpack(start.moments["moments"], make_optimizer(start.settings, _networks(unit).parameters).state())


def _steps_before(unit: CommonUnit, start: CommonStart) -> float:
    moments = _moments(unit, start)
    return float(moments["steps.0"]) if moments else 0.0


def _train(group: Sequence[Task]) -> Iterator[CommonTraining]:
    first, begin = group[0]
    nets, settings = _networks(first), begin.settings
    states = [[*start.unit.values(), *start.auxiliary.values()] for _, start in group]
    cohort = Cohort(CommonObjective(first.tasks), settings, nets, states, begin.mu)
    if begin.moments:
        cohort.load([_moments(*one) for one in group])
    losses = cohort.train([_steps(nets, *one) for one in group])
    sizes = training.batch_sizes(len(begin.rows), settings.batch_size) * settings.epochs
    keeps = settings.optimizer_state == "kept"
    for (state, moments), own in zip(cohort.clients(), losses, strict=True):
        unit, auxiliary = (
            {name.removeprefix(prefix): tensor.numpy() for name, tensor in state.items() if name.startswith(prefix)}
            for prefix in ("common.", "auxiliary.")
        )
        after = {"moments": weights.pack(moments)} if keeps else {}
        yield CommonTraining(unit, auxiliary, after, training.mean_loss(list(own), sizes))


def _steps(nets: Networks, unit: CommonUnit, start: CommonStart) -> Iterator[tuple[Batch, Send]]:
    """Yield a unit's minibatches and draws, all from its one stream, as `semfed.training.fit` does."""
    generator = unit.session.generator("common", start.round)
    images, values = unit.data(start.rows)
    send = drawing(generator)
    for network in nets:
        draw_from(network, generator)
    for rows in training.shuffled(len(images), start.settings, generator):
        yield Batch(images.index_select(0, rows), values.index_select(0, rows)), send
