"""What the caller has set in torch, NumPy or Python neither reaches a run nor is changed by it."""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from flwr.app import ConfigRecord, Message, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import semfed
from semfed.data import dataset
from semfed.errors import EngineError
from semfed.scenario import Scenario
from semfed.training.isolation import SETTINGS, isolated

SHORT = {"arms": ["clustered"], "seeds": [0], "overrides": ["rounds=2", "training.epochs=1"]}
LATENTS = {
    "arms": ["shared"],
    "seeds": [0],
    "overrides": ["rounds=2", "training.epochs=2", "learner.classifier.epochs=1"],
}
SPLIT = {"arms": ["fedcl"], "seeds": [0], "overrides": ["rounds=1"]}
SCENARIOS = {"digits": SHORT, "alignment-digits": LATENTS, "fedcl-digits": SPLIT}


def numbers(out: Path, scenario: str = "digits") -> tuple[str, str]:
    """Return every metric of a run, and the digest of its final parameters."""
    done = semfed.run(scenario, out=out, **SCENARIOS[scenario])  # type: ignore[arg-type]
    (outcome,) = (done.folder / "outcomes.jsonl").read_text().splitlines()
    return (done.folder / "metrics.jsonl").read_text(), json.loads(outcome)["parameters_sha256"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[str, str]]:
    """What a scenario gives where nobody has set anything; run once."""
    known: dict[str, tuple[str, str]] = {}

    def found(scenario: str) -> tuple[str, str]:
        if scenario not in known:
            known[scenario] = numbers(tmp_path_factory.mktemp("alone") / "run", scenario)
        return known[scenario]

    return found


@contextmanager
def changed(read: Callable[[], Any], write: Callable[[Any], Any], value: Any) -> Iterator[None]:
    """Set something, see that it is still set in the end, and put it back."""
    before = read()
    write(value)
    try:
        assert before != read(), "this setting has no effect here"
        yield
        assert read() == value
    finally:
        write(before)


def attribute(module: Any, name: str, value: Any) -> AbstractContextManager[None]:
    return changed(lambda: getattr(module, name), lambda new: setattr(module, name, new), value)


def deterministic() -> AbstractContextManager[None]:
    def write(mode: tuple[bool, bool]) -> None:
        torch.use_deterministic_algorithms(mode[0], warn_only=mode[1])

    def read() -> tuple[bool, bool]:
        return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()

    return changed(read, write, (True, True))


@contextmanager
def still(context: AbstractContextManager[Any], holds: Callable[[], bool]) -> Iterator[None]:
    with context:
        assert holds()
        yield
        assert holds()


AMBIENT: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast": lambda: still(torch.autocast("cpu", dtype=torch.bfloat16), lambda: torch.is_autocast_enabled("cpu")),
    "default dtype": lambda: changed(torch.get_default_dtype, torch.set_default_dtype, torch.float64),
    "default device": lambda: changed(torch.get_default_device, torch.set_default_device, torch.device("meta")),
    "device context": lambda: still(torch.device("meta"), lambda: torch.empty(1).is_meta),
    "no grad": lambda: still(torch.no_grad(), lambda: not torch.is_grad_enabled()),
    "inference": lambda: still(torch.inference_mode(), torch.is_inference_mode_enabled),
    "deterministic": deterministic,
    "threads": lambda: changed(torch.get_num_threads, torch.set_num_threads, 3),
    "flushed": lambda: changed(lambda: SETTINGS[3].read(), torch.set_flush_denormal, True),
    "precision": lambda: changed(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"),
    "tf32": lambda: attribute(torch.backends.cuda.matmul, "allow_tf32", True),
    "no tf32": lambda: attribute(torch.backends.cudnn, "allow_tf32", False),
    "no mkldnn": lambda: attribute(torch.backends.mkldnn, "enabled", False),
    "mkldnn": lambda: attribute(torch.backends.mkldnn, "deterministic", True),
    "no cudnn": lambda: attribute(torch.backends.cudnn, "enabled", False),
    "benchmark": lambda: attribute(torch.backends.cudnn, "benchmark", True),
    "floating point errors": lambda: still(np.errstate(all="raise"), lambda: set(np.geterr().values()) == {"raise"}),
}


@pytest.mark.parametrize("kind", AMBIENT)
def test_what_surrounds_a_run_does_not_reach_it(kind: str, alone: Callable[..., Any], tmp_path: Path) -> None:
    with AMBIENT[kind]():
        found = numbers(tmp_path / "run")
    assert found == alone("digits")


@pytest.mark.parametrize("kind", ["autocast", "default dtype", "inference", "device context"])
@pytest.mark.parametrize("scenario", ["alignment-digits", "fedcl-digits"])
def test_nor_what_latents_channels_and_servers_compute(
    kind: str, scenario: str, alone: Callable[..., Any], tmp_path: Path
) -> None:
    expected = alone(scenario)
    with AMBIENT[kind]():
        assert numbers(tmp_path / "run", scenario) == expected


@pytest.mark.parametrize("kind", ["autocast", "default dtype", "inference", "device context"])
def test_nor_a_client_that_another_server_asks(
    kind: str, open_federation: Callable[..., Any], digits: Scenario
) -> None:
    """As in the processes of Ray and of Flower, where `run_arm` is somewhere else."""

    def trained() -> list[npt.NDArray[Any]]:
        federation = open_federation(digits)
        content = RecordDict({"arrays": federation.initial_arrays, "config": ConfigRecord({"server-round": 1})})
        (reply,) = federation.send_and_receive([Message(content, 0, "train", group_id="1")])
        return [array.numpy() for array in reply.content["arrays"].values()]

    expected = trained()
    with AMBIENT[kind]():
        found = trained()
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", AMBIENT)
def test_what_is_lent_is_as_in_a_fresh_process(kind: str) -> None:
    """A number that each setting could change, computed inside and outside."""

    def compute() -> tuple[torch.Tensor, bool]:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(40, 3, 12, 12, generator=generator, requires_grad=True)
        made = nn.Conv2d(3, 4, 3)(x).flatten(1) @ torch.linspace(-1, 1, 400).view(400, 1)
        (gradient,) = torch.autograd.grad(made.square().mean(), x)
        tiny = torch.tensor([2.0**-130]) / 2
        return torch.cat([gradient.flatten(), tiny]), np.float32(1e-40) * np.float32(0.5) > 0

    with isolated():
        expected = compute()
    with AMBIENT[kind]():
        for _ in range(2):
            with isolated(), isolated():
                found = compute()
    assert found[0].dtype == torch.float32
    assert torch.equal(found[0], expected[0])
    assert found[1] == expected[1] == True  # noqa: E712


def states() -> tuple[bytes, str, str]:
    return torch.get_rng_state().numpy().tobytes(), repr(np.random.get_state()), repr(random.getstate())  # noqa: NPY002


def test_the_global_generators_neither_matter_nor_move(alone: Callable[..., Any], tmp_path: Path) -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    np.random.standard_normal()  # noqa: NPY002 - a second number now waits in the state
    random.seed(5)
    before = states()
    assert numbers(tmp_path / "run") == alone("digits")
    assert states() == before


@given(st.integers(0, 2**32 - 1), st.integers(0, 50), st.integers(0, 3))
def test_global_streams_depend_on_their_names_alone(seed: int, drawn: int, index: int) -> None:
    def draw() -> tuple[float, float, float]:
        return float(torch.rand(())), float(np.random.rand()), random.random()  # noqa: NPY002

    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
    random.seed(seed)
    before = states()
    with isolated(1, "a", index):
        np.random.set_state(np.random.get_state())  # noqa: NPY002 - as code of others does
        first = draw()
        for _ in range(drawn):
            draw()
        with isolated(1, "b", index):
            other = draw()
        middle = states()
        with isolated(1, "a", index):
            again = draw()
        assert states() == middle
    assert first == again
    assert not set(first) & set(other)
    assert states() == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda: torch.set_default_dtype(torch.float64),
        lambda: torch.use_deterministic_algorithms(True),
        lambda: torch.set_num_threads(3),
        lambda: np.random.seed(0),  # noqa: NPY002
    ],
)
def test_what_happens_inside_does_not_stay(damage: Callable[[], None]) -> None:
    before = [setting.read() for setting in SETTINGS], states()

    @isolated()
    def compute() -> None:
        damage()
        raise ValueError("as asked")

    with pytest.raises(ValueError, match="as asked"):
        compute()
    assert ([setting.read() for setting in SETTINGS], states()) == before


def test_a_fresh_process_has_the_values_that_are_set() -> None:
    """One CPU thread is the only one that is chosen."""
    code = """
from semfed.training.isolation import SETTINGS
print([k for k, setting in enumerate(SETTINGS) if setting.read() != setting.value])
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(json.loads(told)) <= {1}


def test_a_run_inside_a_transform_is_refused(tmp_path: Path) -> None:
    def run(x: torch.Tensor) -> torch.Tensor:
        numbers(tmp_path / "run")
        return x

    with pytest.raises(EngineError, match=r"inside a transform of torch.func .*: call it outside"):
        torch.func.vmap(run)(torch.zeros(2))


NEWER = ["torch.backends", "torch.backends.mkldnn.conv", "torch.backends.mkldnn.matmul", "torch.backends.cuda.matmul"]


@pytest.mark.skipif(not hasattr(torch._C, "_get_fp32_precision_getter"), reason="torch has no fp32_precision yet")
@pytest.mark.parametrize("place", NEWER)
def test_less_precision_by_the_newer_interface_is_refused(place: str, tmp_path: Path) -> None:
    """In a process of its own, because torch cannot put all of it back."""
    code = f"""
import torch
from semfed.errors import SemfedError
from semfed.training.isolation import isolated
{place}.fp32_precision = "tf32"
try:
    with isolated():
        print("computed")
except SemfedError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "fp32_precision is" in told
    assert "set it to 'none' before the run" in told


def test_constants_that_are_kept_have_a_type_of_their_own() -> None:
    dataset._per_channel.cache_clear()
    with AMBIENT["default dtype"]():
        kept = dataset._per_channel((0.1,), torch.device("cpu"))
    assert kept.dtype == torch.float32
