"""QAM against the closed forms of its bit error rates."""

import math

import pytest
import torch
from scipy.stats import norm

from semfed.algorithms.digital import qam


def q(x: float) -> float:
    return float(norm.sf(x))


def error_rate(order: int, snr: float) -> float:
    """Exact rate of Gray square QAM: for each part, of the bits of its 2, 4 or 8 levels (Cho and Yoon, 2002)."""
    half = (order.bit_length() - 1) // 2
    levels, step = 2**half, math.sqrt(3 * snr / (order - 1))  # half the distance of levels over sigma
    total = 0.0
    for bit in range(1, half + 1):
        for i in range(int((1 - 2**-bit) * levels)):
            folded = i * 2 ** (bit - 1) / levels
            weight = (-1) ** math.floor(folded) * (2 ** (bit - 1) - math.floor(folded + 0.5))
            total += weight * 2 * q((2 * i + 1) * step) / levels
    return total / half


def random_bits(count: int, order: qam.Order) -> torch.Tensor:
    generator = torch.Generator().manual_seed(order)
    return torch.randint(2, (8, count * qam.bits_per_symbol(order)), generator=generator).bool()


def through_noise(symbols: torch.Tensor, snr: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return symbols + math.sqrt(0.5 / snr) * torch.randn(symbols.shape, generator=generator)


def test_closed_forms_by_hand() -> None:
    """4-QAM is Q(sqrt(SNR)); 16-QAM is (3 Q(a) + 2 Q(3 a) - Q(5 a)) / 4 with a = sqrt(SNR / 5)."""
    assert error_rate(4, 5.0) == pytest.approx(q(math.sqrt(5.0)))
    a = math.sqrt(10.0 / 5)
    assert error_rate(16, 10.0) == pytest.approx((3 * q(a) + 2 * q(3 * a) - q(5 * a)) / 4)


@pytest.mark.parametrize("order", [4, 16, 64])
def test_symbols_have_unit_power_and_neighbours_differ_in_a_bit(order: qam.Order) -> None:
    levels, labels = qam.axis(order)
    assert float(2 * levels.square().mean()) == pytest.approx(1.0)
    assert (labels[1:] != labels[:-1]).sum(1).tolist() == [1] * (len(levels) - 1)
    assert float(qam.modulate(random_bits(20_000, order), order).square().mean()) == pytest.approx(0.5, rel=0.01)


def test_levels_of_16_qam() -> None:
    """00, 01, 11, 10 on -3, -1, 1, 3 over sqrt(10), the real part first."""
    bits = torch.tensor([[0, 0, 0, 1], [1, 1, 1, 0]]).bool()
    expected = [[-3, -1], [1, 3]]
    assert (qam.modulate(bits, 16) * math.sqrt(10)).tolist() == [pytest.approx(row) for row in expected]


@pytest.mark.parametrize("order", [4, 16, 64])
def test_without_noise_the_signs_are_the_bits(order: qam.Order) -> None:
    bits = random_bits(500, order)
    assert torch.equal(qam.logits(qam.modulate(bits, order), order, 0.1) > 0, bits)


def test_ratios_of_4_qam_are_exact() -> None:
    """log p(1) / p(0) = 4 a y / N0 with a = 1 / sqrt(2), for each part."""
    received = torch.tensor([[0.3, -1.2]])
    assert qam.logits(received, 4, 0.5).tolist() == [pytest.approx([8 * y / math.sqrt(2) for y in (0.3, -1.2)])]


@pytest.mark.parametrize(("order", "snr_db"), [(4, 6.0), (16, 10.0), (64, 16.0)])
def test_error_rate_in_noise(order: qam.Order, snr_db: float) -> None:
    snr, bits = 10 ** (snr_db / 10), random_bits(50_000, order)
    decided = qam.logits(through_noise(qam.modulate(bits, order), snr), order, 1 / snr) > 0
    expected, found = error_rate(order, snr), float((decided != bits).float().mean())
    assert found == pytest.approx(expected, abs=5 * math.sqrt(expected / bits.numel()))


@pytest.mark.parametrize("order", [16, 64])
def test_ratios_are_near_the_sums_that_they_stand_for(order: qam.Order) -> None:
    """By enumeration of all levels; the largest term alone is off by less than log of the number of terms."""
    received = through_noise(qam.modulate(random_bits(50, order), order), 10.0)
    levels, labels = qam.axis(order)
    weights = torch.exp(-((received[..., None] - levels) ** 2) / 0.1)
    exact = torch.stack([torch.log(weights[..., b].sum(-1) / weights[..., ~b].sum(-1)) for b in labels.T], dim=-1)
    off = (qam.logits(received, order, 0.1) - exact.reshape(len(received), -1)).abs()
    assert 1e-4 < float(off.max()) < math.log(len(levels) / 2)
