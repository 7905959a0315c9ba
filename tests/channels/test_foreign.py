"""Channels of torch and of other libraries, behind the house's transmitter."""

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import semfed
from semfed.channels import Channel, ChannelState, Meter
from semfed.errors import ScenarioError
from semfed.flower.rehearsal import try_channel
from semfed.runs.folder import read_records
from semfed.scenario import plugins
from tests.settings import bases

SAMPLES = 20_000
PLUGINS = Path(__file__).parents[1] / "plugins"


@pytest.fixture(autouse=True)
def _beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLUGINS)


def make(**table: Any) -> Channel:
    channel: Channel = plugins.parse("channels", table).make()
    return channel


def state(seed: int = 0) -> ChannelState:
    return ChannelState(torch.Generator().manual_seed(seed), Meter())


def signal(numbers: int = 8) -> torch.Tensor:
    return torch.randn(SAMPLES, numbers, generator=torch.Generator().manual_seed(9)) * 3 + 1


@pytest.mark.parametrize("symbols", ["real", "complex"])
def test_the_adapter_measures_the_snr_that_the_part_was_told(symbols: str) -> None:
    """The part sets the SNR by the power of what it gets; the noise's measured power has a deviation of 0.02 dB."""
    used = state()
    channel = make(name="foreign:Additive", snr_db=7.0, symbols=symbols)
    channel(signal(), used)
    told = used.metrics()
    assert told["snr/received-db"] == pytest.approx(7.0, abs=0.1)
    assert told["power/transmit"] == pytest.approx(1.0, abs=1e-4)
    assert told["channel-uses"] == SAMPLES * (4 if symbols == "complex" else 8)
    assert channel.settings.noise_std == 0


def test_pairs_of_reals_are_complex_symbols() -> None:
    """Phase noise keeps every symbol's power; E exp(j phi) = exp(-sigma^2 / 2)."""
    channel = make(name="foreign:Turning", symbols="complex", sigma=0.5)
    x = signal(2)
    sent, got = channel.transmit(x, state()), channel(x, state())
    torch.testing.assert_close(got.square().sum(1), sent.square().sum(1))
    a, b = (torch.view_as_complex(t.reshape(-1, 2)) for t in (sent, got))
    correlation = (a.conj() * b).mean() / a.abs().square().mean()
    assert correlation.real.item() == pytest.approx(math.exp(-0.125), abs=0.01)
    assert correlation.imag.item() == pytest.approx(0, abs=0.015)


def test_noise_is_added_where_the_part_has_none() -> None:
    """An erasure channel of torch's, p = 0.1 and the rest scaled by 1 / 0.9: E y^2 = 1 / 0.9 beside the noise's 0.1."""
    used = state()
    channel = make(name="torch.nn:Dropout", p=0.1, snr_db=10.0)
    got = channel(signal(), used)
    assert got.square().mean().item() == pytest.approx(1 / 0.9 + 0.1, rel=0.01)
    assert used.metrics()["snr/received-db"] == pytest.approx(10 * math.log10(10 / 0.9), abs=0.1)
    assert make(name="torch.nn:Dropout", p=0.1)(signal(), state()).eq(0).float().mean().item() == pytest.approx(
        0.1, abs=0.005
    )


def test_what_has_no_sign_is_no_signal_and_what_refuses_one_has_no_snr() -> None:
    used = state()
    make(name="torch.nn:Identity")(signal(), used)
    assert used.metrics()["snr/received-db"] == 300.0
    used = state()
    make(name="foreign:Deaf", power="none")(torch.ones(3, 4), used)
    assert used.metrics() == {"channel-uses": 12, "power/transmit": 1.0}


def test_every_call_has_a_stream_of_its_own_and_leaves_the_global_ones_alone() -> None:
    channel, x = make(name="foreign:Additive"), signal()[:4]
    torch.manual_seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    used = state()
    first, second = channel(x, used), channel(x, used)
    torch.manual_seed(2)
    again = channel(x, state())
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(first, channel(x, state(1)))
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert random.getstate() == states[2]


def test_measuring_changes_no_number() -> None:
    channel, x = make(name="foreign:Additive", snr_db=3.0), signal()[:9]
    silent = ChannelState(torch.Generator().manual_seed(0))
    assert torch.equal(channel(x, silent), channel(x, state()))


def test_without_noise_an_identity_is_the_built_in_channel(tmp_path: Path) -> None:
    finals = []
    for k, channel in enumerate(("awgn", "torch.nn:Identity")):
        changes = {"channel": {"name": channel, "uses": 4, "snr_db": math.inf}}
        done = semfed.run(bases.BASES["plain"](), overrides=changes, out=tmp_path / str(k))
        final = next(iter(done.summary["arms"].values()))["final"]
        finals.append({k: v["mean"] for k, v in final.items() if "simulation" not in k})
    assert finals[0] == pytest.approx(finals[1], rel=1e-6)


@pytest.mark.parametrize("cohort", [None, 2])
def test_it_is_reproducible_whoever_is_served_together(cohort: int | None, tmp_path: Path) -> None:
    changes = {"channel": {"name": "foreign:Additive", "uses": 4, "snr_db": 2.0}, "rounds": 2}
    found = []
    for k in range(2):
        torch.manual_seed(k)
        options = {"cohort": cohort} if cohort and k else {}
        out = tmp_path / str(k)
        semfed.run(bases.BASES["plain"](), overrides=changes, out=out, **options)
        found.append([record.value for record in read_records(out)])
    assert found[0] == (found[1] if cohort is None else pytest.approx(found[1], abs=1e-5))


REFUSED = [
    ("foreign:Halved", "makes (2, 4) of torch.float32 of (2, 8) of torch.float32: set channel.symbols, or wrap it"),
    ("foreign:Counting", "changes its own 'module.calls' when it sends"),
    ("foreign:Unseeded", "gives out other numbers for the same input and the same random stream"),
    ("foreign:Quantised", "lets no gradient pass"),
    ("foreign:Infinite", "gives out numbers that are not finite"),
    ("foreign:Turning", "makes (2, 8) of torch.complex64 of (2, 8) of torch.float32: set channel.symbols"),
    ("foreign:Net", "inputs: missing; give it a value"),
    ("foreign:number", "does not say that it makes a Module: annotate what it returns"),
    ("torch.nn:Conv2d", "missing; give it a value"),
    (
        {"name": "torch.nn:Linear", "in_features": 3, "out_features": 3},
        "cannot send a batch of shape (2, 8) (RuntimeError",
    ),
    ({"name": "torch.nn:Dropout", "p": 1.5}, "refuses its arguments (ValueError: dropout probability"),
    ({"name": "torch.nn:Dropout", "q": 0.5}, "unknown setting 'q'"),
]


@pytest.mark.parametrize(("channel", "words"), REFUSED, ids=[str(channel) for channel, _ in REFUSED])
def test_what_cannot_be_a_channel_is_refused_before_anything_runs(channel: Any, words: str, tmp_path: Path) -> None:
    table = {"uses": 8, **({"name": channel} if isinstance(channel, str) else channel)}
    with pytest.raises(ScenarioError) as told:
        semfed.run(bases.BASES["plain"]() | {"channel": table}, out=tmp_path / "run")
    assert words in str(told.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["awgn", "rayleigh"])
def test_our_own_channels_pass_the_same_trial(name: str) -> None:
    try_channel(make(name=name, uses=4))


def test_its_weights_are_not_trained() -> None:
    class Gain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.gain

    globals()["Gain"] = Gain
    assert not list(filter(lambda p: p.requires_grad, make(name=f"{__name__}:Gain").parameters()))
