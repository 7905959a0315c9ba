"""Whether `torch.compile` or a CUDA graph would pay for a training step: a measurement, nothing here trains a client.

The library's steps cannot be captured as they are: a channel draws from a generator of its own, and stacked clients are
taken apart for it (`semfed.models.layers.apart`), which the compiler does not follow. So the noise is drawn before, and
what is compiled is the rest of the same step, by the library's own objective, networks and optimiser.
"""

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch.func import functional_call

from gpu_steps.runs import Figures, Items, Sizes
from semfed.channels import ChannelState
from semfed.channels.awgn import AWGN
from semfed.models.dcgan import DCGAN
from semfed.models.mlp import MLP
from semfed.scenario import TrainingSettings
from semfed.training.end_to_end import EndToEnd
from semfed.training.fused.stacked import Cohort
from semfed.training.objective import Batch, Build, Networks
from semfed.training.optimizers import make_optimizer
from semfed.training.step import AutogradStep

WARM = 3
"""Steps before the clock runs: whatever is compiled, captured or put into memory once."""
TURNS = 5
WIDTH, CLASSES = 64, 10
Step = Callable[[], Tensor]


class Pair(EndToEnd):
    """What is minimised; the networks are made here."""

    def networks(self, build: Build) -> Networks:
        raise NotImplementedError


class Work:
    """A minibatch, networks and an optimiser, as many models side by side as the images have in front.

    Parameters
    ----------
    nets : Networks
    settings : TrainingSettings
    images : Tensor, shape (models, batch, ...)
    snr_db : float
    """

    def __init__(self, nets: Networks, settings: TrainingSettings, images: Tensor, snr_db: float) -> None:
        self.nets, self.settings, self.images = nets, settings, images
        self.models = len(images)
        self.channel = AWGN(AWGN.Settings(snr_db=snr_db, power="none", uses=WIDTH)).to(images.device)
        generator = torch.Generator().manual_seed(1)
        shape = images.shape[:2]
        self.labels = torch.randint(0, CLASSES, shape, generator=generator).to(images.device)
        noise = self.channel.settings.noise_std * torch.randn((*shape, WIDTH), generator=generator)
        self.noise = noise.to(images.device)

    def library(self) -> Step:
        """Return the step that the library takes, draws included."""
        sends = [partial(self.channel, state=self._state(k)) for k in range(self.models)]
        if self.models == 1:
            step = AutogradStep(self.fresh(), self.settings)
            return partial(step, Pair(), Batch(self.images[0], self.labels[0]), sends[0])
        states = [[tensor.cpu().numpy() for tensor in self.nets.state.values()]] * self.models
        return partial(Cohort(Pair(), self.settings, self.nets, states).step, self.images, self.labels, sends)

    def written_out(self) -> Step:
        """Return the same step with the noise drawn before, and the weights where they stay."""
        nets = self.fresh()
        if self.models == 1:
            step = AutogradStep(nets, self.settings)
            noise = self.noise[0]
            return partial(step, Pair(), Batch(self.images[0], self.labels[0]), lambda sent: sent + noise)
        return self._stacked(nets)

    def fresh(self) -> Networks:
        """Return a copy of the networks, in training mode."""
        nets = Networks({name: copy.deepcopy(network) for name, network in self.nets.shared.items()})
        for network in nets:
            network.train()
        return nets

    def _state(self, model: int) -> ChannelState:
        return ChannelState(torch.Generator(self.images.device).manual_seed(model))

    def _stacked(self, nets: Networks) -> Step:
        whole = _Loss(nets)
        state = {
            name: tensor.detach().expand(self.models, *tensor.shape).clone().requires_grad_()
            for name, tensor in whole.named_parameters()
        }
        leaves = list(state.values())
        optimizer = make_optimizer(self.settings, leaves, stacked=True)  # type: ignore[arg-type]

        def loss(weights: dict[str, Tensor], images: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
            value: Tensor = functional_call(whole, weights, (images, labels, noise))
            return value

        def step() -> Tensor:
            losses: Tensor = torch.vmap(loss)(state, self.images, self.labels, self.noise)
            optimizer.step(torch.autograd.grad(losses.sum(), leaves))
            return losses.detach()

        return step


class _Loss(torch.nn.Module):
    def __init__(self, nets: Networks) -> None:
        super().__init__()
        self.networks = torch.nn.ModuleDict(nets.shared)
        self._nets = nets

    def forward(self, images: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
        return Pair().loss(self._nets, Batch(images, labels), lambda sent: sent + noise)


def works(device: str, clients: int) -> dict[str, Callable[[], Work]]:
    """Return W2's network in a cohort, and FedCL's encoder with its decoder at one client, by name."""

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)

    def networks(encoder: torch.nn.Module, decoder: torch.nn.Module) -> Networks:
        return Networks({"encoder": encoder.to(device), "decoder": decoder.to(device)})

    def many() -> Work:
        encoder = MLP(MLP.Settings(hidden=(128,), final_relu=True)).build((1, 28, 28), WIDTH)
        nets = networks(encoder, MLP(MLP.Settings()).build((WIDTH,), CLASSES))
        return Work(nets, TrainingSettings(batch_size=10, optimizer="sgd", lr=0.1), drawn(clients, 10, 1, 28, 28), 10.0)

    def fedcl() -> Work:
        encoder = DCGAN(DCGAN.Settings()).build((3, 32, 32), WIDTH)
        nets = networks(encoder, MLP(MLP.Settings(hidden=(64,))).build((WIDTH,), CLASSES))
        return Work(nets, TrainingSettings(batch_size=50, optimizer="adam", lr=1e-3), drawn(1, 50, 3, 32, 32), 10.0)

    return {f"W2's network, cohort of {clients}": many, "FedCL's encoder, one client": fedcl}


def compiled(device: str, scratch: Path, sizes: Sizes) -> Items:
    """Time a step as the library takes it, with the noise drawn before, compiled in two modes, and as a CUDA graph."""
    clients, steps = sizes.compiled
    ways: dict[str, Callable[[Work], Step]] = {
        "library": Work.library,
        "noise drawn before": Work.written_out,
        "CUDA graph": lambda work: captured(work.written_out()),
        "torch.compile": lambda work: torch.compile(work.written_out()),
        "reduce-overhead": lambda work: torch.compile(work.written_out(), mode="reduce-overhead"),
    }
    if device == "cpu":
        del ways["CUDA graph"]
    for name, make in works(device, clients).items():
        reference: list[Tensor] = []
        for way, prepare in ways.items():
            yield f"{name}: {way}", partial(_timed, make, prepare, steps, reference, way)
        yield f"{name}: what of the library's step the compiler follows", partial(followed, make)


def _timed(
    make: Callable[[], Work], prepare: Callable[[Work], Step], steps: int, reference: list[Tensor], way: str
) -> Figures:
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the networks' initial weights
        work = make()
    torch._dynamo.reset()
    skipped = counters["inductor"]["cudagraph_skips"]
    began = time.perf_counter()
    step = prepare(work)
    for _ in range(0 if way == "CUDA graph" else WARM):
        step()
    synchronised(work.images)
    ready = time.perf_counter() - began
    times = []
    for _ in range(TURNS):
        began = time.perf_counter()
        for _ in range(steps):
            last = step()
        synchronised(work.images)
        times.append((time.perf_counter() - began) / steps)
    told: Figures = {"step_us": 1e6 * statistics.median(times), "ready_s": ready, "steps": WARM + TURNS * steps}
    if way == "reduce-overhead":
        told["graphs_skipped"] = counters["inductor"]["cudagraph_skips"] - skipped
    if way == "noise drawn before":
        reference.append(last.clone())
    elif way != "library" and reference:  # whose noise is another
        told["relative_difference"] = float(((last - reference[0]).abs() / reference[0].abs()).max())
    return told


def captured(step: Step) -> Step:
    """Return a step as a CUDA graph, after `WARM` steps that allocate what it needs; capturing takes none."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step()

    def replayed() -> Tensor:
        graph.replay()
        return loss

    return replayed


def followed(make: Callable[[], Work]) -> Figures:
    """Say into how many graphs the compiler takes the library's own step apart, and where it has to."""
    torch._dynamo.reset()
    found = torch._dynamo.explain(make().library())()
    return {"graphs": found.graph_count, "breaks": reasons(found.break_reasons)}


def reasons(breaks: Sequence[object]) -> list[str]:
    """Return where the compiler gave up, and the first line of what it says of it."""
    told = []
    for one in breaks:
        place = one.user_stack[-1] if one.user_stack else None  # type: ignore[attr-defined]
        where = "" if place is None else f"{Path(place.filename).name}, {place.name}: "
        told.append(where + str(one.reason).splitlines()[0])  # type: ignore[attr-defined]
    return told


def synchronised(like: Tensor) -> None:
    """Wait for the card, if there is one."""
    if like.device.type == "cuda":
        torch.cuda.synchronize(like.device)
