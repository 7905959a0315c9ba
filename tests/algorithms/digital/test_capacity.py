"""Capacity against hand values and closed forms."""

import math

import pytest
import torch
from scipy.special import exp1

from semfed.algorithms.digital.capacity import bits, faded_bits


@pytest.mark.parametrize(
    ("uses", "snr_db", "symbols", "expected"),
    [
        (512, 0.0, "complex", 512.0),  # log2(2) = 1
        (256, 10.0, "complex", 885.615),  # 256 log2(11) = 256 x 3.459432
        (20, 3.0, "real", 15.826),  # 10 log2(2.995262) = 10 x 1.582683
        (512, -10.0, "complex", 70.402),  # 512 log2(1.1) = 512 x 0.137504
    ],
)
def test_noise_alone(uses: int, snr_db: float, symbols: str, expected: float) -> None:
    assert bits(uses, snr_db, symbols) == pytest.approx(expected, abs=2e-3)  # type: ignore[arg-type]


def test_without_noise_there_is_no_limit() -> None:
    assert bits(1, math.inf) == math.inf
    assert faded_bits(torch.ones(2, 1), 4, math.inf).tolist() == [math.inf, math.inf]


def test_fading_of_gain_one_is_no_fading() -> None:
    found = faded_bits(torch.ones(3, 1), 100, 7.0)
    assert found.tolist() == pytest.approx([bits(100, 7.0)] * 3)
    assert faded_bits(torch.ones(3, 50), 50, 7.0, "real").tolist() == pytest.approx([bits(50, 7.0, "real")] * 3)


def test_gains_of_a_transmission_by_hand() -> None:
    """At 0 dB gains of 1 and 3 carry log2(2) = 1 and log2(4) = 2 bits."""
    assert faded_bits(torch.tensor([[1.0, 3.0]]), 2, 0.0).tolist() == pytest.approx([3.0])


@pytest.mark.parametrize("snr_db", [-5.0, 3.0, 15.0])
def test_the_mean_over_rayleigh_fading_is_the_ergodic_capacity(snr_db: float) -> None:
    """E log2(1 + g SNR) = exp(1 / SNR) E1(1 / SNR) / ln 2, for exponential g."""
    generator = torch.Generator().manual_seed(0)
    gains = torch.empty(400, 1000, dtype=torch.float64).exponential_(generator=generator)
    snr = 10 ** (snr_db / 10)
    expected = math.exp(1 / snr) * exp1(1 / snr) / math.log(2)
    assert float(faded_bits(gains, 1000, snr_db).mean()) / 1000 == pytest.approx(expected, rel=5e-3)
