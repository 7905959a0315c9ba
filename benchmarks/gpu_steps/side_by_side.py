"""Clients of one trial, and seeds of one arm, trained side by side with stacked weights, against one by one."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from gpu_steps.runs import MANY_CLIENTS, Figures, Items, Sizes, apart, losses, peak_mb, round_s, run, seconds_by_seed
from semfed.events.spans import listening
from semfed.flower.client.together import why_arm_alone
from semfed.runs.profile import Clock, Profile
from semfed.scenario.overrides import load

TRAINING = ("training", "channel")
"""Spans of a round that are local training; the rest is messages, clients, replies and records."""


def cohorts(device: str, scratch: Path, sizes: Sizes) -> Items:
    """Time a round of W2, 1,000 clients of 6 steps, by how many train side by side; and on the CPU."""
    yield from _by_cohort(sizes.cohorts, device, scratch, MANY_CLIENTS, "W2", sizes.many, sizes)


def batchnorm(device: str, scratch: Path, sizes: Sizes) -> Items:
    """Time a round of 20 clients with FedCL's encoder (BatchNorm, Adam) in federated averaging, likewise."""
    yield from _by_cohort(sizes.batchnorm, device, scratch, "fedcl-cifar10-k20", "fedavg", sizes.encoder, sizes)


def _by_cohort(
    counts: Sequence[int | str],
    device: str,
    scratch: Path,
    scenario: str | Path,
    arm: str,
    overrides: Sequence[str],
    sizes: Sizes,
) -> Items:
    reference: list[dict[str, float]] = []  # the losses of one after the other on the device

    def measured(place: str, count: int | str) -> Figures:
        clock = Clock()
        watch = Profile(clock)
        changes = [*overrides, f"training.device={place}"]
        with peak_mb(place) as peak, listening(clock):
            folder = run(scenario, scratch, sizes, arms=[arm], cohort=count, overrides=changes, callbacks=[watch])
        later = watch.rounds[1:] or watch.rounds
        training = statistics.median(sum(one.seconds.get(part, 0.0) for part in TRAINING) for one in later)
        told = {"round_s": round_s(folder), "training_s": training, **peak}
        if place == device and count == counts[0]:
            reference.append(losses(folder))
        elif place == device and reference:
            told["relative_difference"] = apart(losses(folder), reference[0])[1]
        return told

    for count in counts:
        yield f"cohort {count}", lambda count=count: measured(device, count)  # type: ignore[misc]
    yield "on the CPU, one by one", lambda: measured("cpu", 1)
    yield "on the CPU, cohort auto", lambda: measured("cpu", "auto")


def trials(device: str, scratch: Path, sizes: Sizes) -> Items:
    """Time seeds of an arm side by side in one process, their weights stacked, against one after the other."""
    for name, changes in sizes.trials.items():
        yield name, lambda name=name, changes=changes: _seeds(name, changes, device, scratch, sizes)  # type: ignore[misc]


def _seeds(name: str, changes: Sequence[str], device: str, scratch: Path, sizes: Sizes) -> Figures:
    scenario = load(name)
    arm = scenario.arm_names[0]
    reason = why_arm_alone(scenario.arm(arm))
    if reason is not None:
        return {"left out": reason}
    told: Figures = {"arm": arm, "seeds": sizes.seeds}
    settings, found = [*changes, f"training.device={device}"], {}
    for way, options in (("alone", {"jobs": 1}), ("together", {"together": sizes.seeds, "cohort": sizes.seeds})):
        with peak_mb(device) as peak:
            folder = run(name, scratch, sizes, arms=[arm], seeds=range(sizes.seeds), overrides=settings, **options)
        seconds = seconds_by_seed(folder).values()
        # Side by side, a round of every trial takes as long as that of all of them.
        told[f"{way}_s"] = sum(seconds) if way == "alone" else max(seconds)
        told[f"{way}_peak_mb"], found[way] = peak["peak_mb"], losses(folder)
    told["times"] = told["alone_s"] / told["together_s"]
    told["relative_difference"] = apart(found["together"], found["alone"])[1]
    return told
