"""The LDPC code: without noise exact, in noise with a cliff where 5G's codes have it."""

import math
import sys

import pytest
import torch

from semfed.algorithms.digital import ldpc, qam
from semfed.errors import ScenarioError

CPU = torch.device("cpu")


def sent(code: ldpc.Code, frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(2, (frames, code.information), generator=generator).bool()


def error_rate(code: ldpc.Code, snr_db: float, frames: int) -> float:
    bits, variance = sent(code, frames), 10 ** (-snr_db / 10)
    symbols = qam.modulate(code.encode(bits), code.order)
    noise = torch.randn(symbols.shape, generator=torch.Generator().manual_seed(1)) * math.sqrt(variance / 2)
    return 1 - float(code.arrived(bits, qam.logits(symbols + noise, code.order, variance)).float().mean())


def test_without_sionna_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sionna.phy.fec.ldpc", None)
    with pytest.raises(ScenarioError, match=r"pip install 'semfed\[digital\]', or take 'capacity'"):
        ldpc.Code(100, 200, 4, CPU)


@pytest.mark.parametrize(("information", "problem"), [(35, "35 information bits"), (8449, "36 to 8448")])
def test_sizes_without_a_code_are_refused(information: int, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        ldpc.require_size(information, 2 * information)


@pytest.mark.parametrize(("order", "information", "coded"), [(4, 512, 1024), (16, 1024, 2048), (64, 1024, 1536)])
def test_without_noise_every_bit_comes_back(order: qam.Order, information: int, coded: int) -> None:
    pytest.importorskip("sionna.phy.fec.ldpc")
    code = ldpc.Code(information, coded, order, CPU)
    bits = sent(code, 20)
    words = code.encode(bits)
    assert words.shape == (20, coded)
    assert not torch.equal(words[:, :information], bits), "bits are interleaved"
    logits = qam.logits(qam.modulate(words, order), order, 0.05)
    assert torch.equal(code.decode(logits), bits)
    assert code.arrived(bits, logits).all()
    assert not code.arrived(~bits, logits).any()


def test_the_code_is_linear() -> None:
    pytest.importorskip("sionna.phy.fec.ldpc")
    code = ldpc.Code(120, 240, 4, CPU)
    one, other = sent(code, 20).split(10)
    assert torch.equal(code.encode(one ^ other), code.encode(one) ^ code.encode(other))
    assert not code.encode(torch.zeros(1, 120).bool()).any()


def test_frames_have_a_cliff() -> None:
    """512 bits in 1,024 of 4-QAM, rate 1 bit a symbol: no code is below 0 dB, and 5G's is right from some 2 dB on."""
    pytest.importorskip("sionna.phy.fec.ldpc")
    code = ldpc.Code(512, 1024, 4, CPU)
    assert error_rate(code, 0.0, 50) == 1.0
    assert error_rate(code, 2.5, 100) == 0.0
    assert 0.0 < error_rate(code, 1.4, 100) < 1.0
