"""Every scenario's shortest preset on both devices: equal losses, and which way its clients' steps were taken."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch
from weakref import WeakKeyDictionary

import torch
from torch.overrides import TorchFunctionMode

from gpu_steps.runs import ROOT, Figures, Items, Sizes, apart, losses, run
from semfed.algorithms.bottleneck import closed_form, priors, specific_unit
from semfed.flower.client import learner
from semfed.flower.client.together import why_arm_alone
from semfed.scenario.overrides import load
from semfed.training.fused.fully_connected import FullyConnectedStep
from semfed.training.step import make_step, why_autograd

EXPECTED = ROOT / "tests" / "scenarios" / "expected"
QUICK = ("digits", "fedcl-digits", "alignment-digits", "mtoc-mnist", "mtoc-fashion-mnist", "iopm-mnist")
"""Come first, so that one of every kind is compared should the minutes not suffice for all."""
TOLERANCE = 1e-3
"""Of the first round's losses, relative; float32 sums in another order differ by less."""
FUSED = "fused"
TESTED = 600
"""Test images: more would take most of the time and say no more."""


class DrawnOnCpu(TorchFunctionMode):
    """Draws random numbers on the CPU wherever a generator of a GPU is asked for, so that both devices use the same."""

    def __init__(self) -> None:
        super().__init__()
        self._twins: WeakKeyDictionary[torch.Generator, torch.Generator] = WeakKeyDictionary()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        generator = kwargs.get("generator")
        if generator is None or generator.device.type == "cpu":
            return func(*args, **kwargs)
        twin = self._twins.setdefault(generator, torch.Generator().manual_seed(generator.initial_seed()))
        return func(*args, **kwargs | {"generator": twin, "device": "cpu"}).to(generator.device)


def presets(device: str, scratch: Path, sizes: Sizes) -> Items:
    """Run every scenario's short preset on both devices with the same draws, and compare the first round's losses."""
    names = sorted((path.stem for path in EXPECTED.glob("*.json")), key=lambda name: (name not in QUICK, name))
    for name in names:
        if not sizes.presets or name in sizes.presets:
            yield name, lambda name=name: _compared(name, device, scratch, sizes)  # type: ignore[misc]


def _compared(name: str, device: str, scratch: Path, sizes: Sizes) -> Figures:
    short = json.loads((EXPECTED / f"{name}.json").read_text())
    seconds, told = dict[str, float](), dict[str, dict[str, float]]()
    for key, place in (("cpu", "cpu"), ("device", device)):
        started = time.perf_counter()
        changes = [*short["overrides"], f"training.device={place}"]
        with DrawnOnCpu(), noted_steps() as steps:
            folder = run(name, scratch, sizes, tested=TESTED, arms=short["arms"], seeds=[0], overrides=changes)
        seconds[key], told[key] = time.perf_counter() - started, losses(folder)
    worst, share = apart(told["device"], told["cpu"])
    return {
        "seconds": seconds,
        "losses": len(told["cpu"]),
        "worst": worst,
        "relative_difference": share,
        "equal": share <= TOLERANCE,
        "steps": dict(steps),
        "cohorts": stacked(name, short["arms"]),
    }


def stacked(name: str, arms: list[str] | None) -> dict[str, str]:
    """Say of every arm whether its clients can be stacked, or why they cannot."""
    scenario = load(name, arms=arms)
    return {arm: why_arm_alone(scenario.arm(arm)) or "stacked where asked for" for arm in scenario.arm_names}


@contextmanager
def noted_steps() -> Iterator[Counter[str]]:
    """Count what local training was prepared for: a fused implementation, or autograd, with the reason.

    Learners with a ``fit`` of their own, without an objective, ask for neither.
    """
    told = Counter[str]()
    train = specific_unit.train

    def made(objective: Any, nets: Any, settings: Any, **options: Any) -> Any:
        step = make_step(objective, nets, settings, **options)
        why = why_autograd(objective, nets, settings, mu=options.get("mu", 0.0))
        told["objective: " + (FUSED if isinstance(step, FullyConnectedStep) else f"autograd, since {why}")] += 1
        return step

    def trained(link: Any, *args: Any, **options: Any) -> Any:
        why = why_unit(link, options["cost"], options["settings"])
        told["specific unit: " + (FUSED if why is None else f"autograd, since {why}")] += 1
        return train(link, *args, **options)

    with ExitStack() as patched:
        patched.enter_context(patch.object(learner, "make_step", made))
        patched.enter_context(patch.object(specific_unit, "train", trained))
        yield told


def why_unit(link: specific_unit.Link, cost: Any, settings: Any) -> str | None:
    """Say why autograd takes a specific unit's steps, as `specific_unit.train` decides it; None if it does not."""
    if not settings.plain_sgd:
        return "the optimiser is not plain SGD"
    if not isinstance(cost, priors.NormalPrior):
        return "this prior's penalty has no slopes written out"
    if closed_form.Unit.of(link.encoder, link.channel, link.decoder) is None:
        return "its layers are not all linear or ReLU, or the channel does more than add"
    return None
