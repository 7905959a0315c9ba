"""What a further epoch of local training adds: waits for the card, copies, numbers read on the host, launches."""

from collections import Counter
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from gpu_steps.runs import MANY_CLIENTS, Figures, Items, Sizes, run
from semfed.scenario.overrides import load

EVENTS = {
    "waits": ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"),
    "copies": ("cudaMemcpyAsync",),
    "numbers read": ("aten::_local_scalar_dense",),
    "rows sought": ("aten::nonzero",),
    "launches": ("cudaLaunchKernel", "cudaLaunchKernelExC"),
}
"""Names of the profiler's. Numbers are read, and rows sought by a condition, on a CPU, too, where nobody waits; there
torch's fused Adam reads its step counts, one a parameter and step, which it does not on a GPU."""


def waits(device: str, scratch: Path, sizes: Sizes) -> Items:
    """Count them in a round with one epoch and with two: what both have opens, tests and ends the round.

    The difference is that of the steps of one epoch, in which nothing should wait for the card.
    """
    loops = {"W1": (MANY_CLIENTS, "W1", (*sizes.clients, "arms.W1.rounds=1"))}
    encoder = tuple(change for change in sizes.encoder if not change.startswith("rounds="))
    loops["FedCL's encoder"] = ("fedcl-cifar10-k20", "fedavg", (*encoder, "rounds=1"))
    loops |= {name: (name, load(name).arm_names[0], changes) for name, changes in sizes.waits.items()}
    for name, (scenario, arm, changes) in loops.items():

        def counted(scenario: str | Path = scenario, arm: str = arm, changes: tuple[str, ...] = changes) -> Figures:
            one, two = (
                _counts(device, scratch, sizes, scenario, arm, [*changes, f"training.epochs={epochs}"])
                for epochs in (1, 2)
            )
            return {"round": one, "further epoch": {kind: two[kind] - one[kind] for kind in EVENTS}}

        yield name, counted


def _counts(
    device: str, scratch: Path, sizes: Sizes, scenario: str | Path, arm: str, changes: list[str]
) -> dict[str, int]:
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device != "cpu" else [])]
    with profile(activities=activities, acc_events=True) as taken:
        run(scenario, scratch, sizes, arms=[arm], seeds=[0], overrides=[*changes, f"training.device={device}"])
    counts = Counter({event.key: event.count for event in taken.key_averages()})
    return {kind: sum(counts[name] for name in names) for kind, names in EVENTS.items()}
