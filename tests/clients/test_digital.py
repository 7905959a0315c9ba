"""The digital transmitter: what its images are worth at capacity, and where an LDPC code has its cliff."""

import math
from typing import Any

import pytest
import torch
from flwr.app import Context, RecordDict

from semfed import scenario as scenarios
from semfed.algorithms import fidelity
from semfed.algorithms.digital import capacity, jpeg
from semfed.errors import ScenarioError
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.session import Session
from semfed.flower.trial import Trial
from semfed.testing.trials import SMALL

CHANNEL = {"name": "awgn", "uses": 48, "symbols": "complex", "snr_db": 10.0}
IMAGES = 30
CACHE = ProcessCache()


def tree(learner: dict[str, Any], channel: dict[str, Any] = CHANNEL) -> dict[str, Any]:
    changes = {
        "rounds": 1,
        "learner": {"name": "digital", "test_images": IMAGES, **learner},
        "channel": channel,
        "tasks": {"picture": {"kind": "reconstruction"}},
        "clients": [{"name": name, "task": "picture"} for name in "ab"],
        "strategy": {"name": "fedavg", "exchange": False},
    }
    return {**SMALL, **changes}


def results(learner: dict[str, Any], channel: dict[str, Any] = CHANNEL, client: int = 0, round_: int = 1) -> Any:
    made = scenarios.validate(tree(learner, channel))
    context = Context(0, 0, {"partition-id": client}, RecordDict(), {})
    session = Session(context, Trial(made, made.name, 0), client, CACHE, None, torch.device("cpu"))
    learner_ = made.learner.load()(session)
    learner_.get_properties({})
    return learner_.evaluate([], {"server-round": round_})[2]


def images() -> torch.Tensor:
    made = scenarios.validate(tree({}))
    whole = CACHE.dataset(Trial(made, made.name, 0), None, torch.device("cpu")).test.images
    return whole[torch.arange(IMAGES) * len(whole) // IMAGES]


def psnr_within(bits: float) -> float:
    """Mean PSNR of JPEG within a budget, image by image."""
    told = []
    for image in images():
        fitting = [q for q in range(1, 101) if jpeg.code_bits(jpeg.encode(image.numpy(), q)) <= bits]
        grey = torch.full_like(image, round(0.3059 * 255))
        shown = torch.from_numpy(jpeg.decode(jpeg.encode(image.numpy(), max(fitting)))) if fitting else grey
        told.append(float(fidelity.psnr(shown[None] / 255, image[None] / 255)))
    return sum(told) / len(told)


def test_at_capacity_jpeg_gets_the_bits_of_the_channel_and_no_more() -> None:
    found = results({"test_snr_db": [0.0, 5.0]})
    assert found["psnr"] == pytest.approx(psnr_within(48 * math.log2(11)))
    assert found["psnr-at-0dB"] == pytest.approx(psnr_within(48.0))
    assert found["psnr-at-0dB"] < found["psnr-at-5dB"] < found["psnr"]
    assert 0 < found["arrived-at-0dB"] < found["arrived"] == 1
    assert found["channel-uses"] == 48 * IMAGES


def test_real_symbols_carry_half() -> None:
    assert results({}, {**CHANNEL, "symbols": "real"})["psnr"] == pytest.approx(psnr_within(24 * math.log2(11)))


def test_a_counted_header_does_not_fit() -> None:
    assert results({"header": "counted"})["arrived"] == 0


def test_fading_gives_every_image_its_own_bits() -> None:
    rician = {**CHANNEL, "name": "rician", "fading": "block"}
    assert results({}, {**rician, "k_factor": 1e12})["psnr"] == pytest.approx(results({})["psnr"])
    rayleigh = {**CHANNEL, "name": "rayleigh", "fading": "block"}
    faded = [results({}, rayleigh, client=client) for client in (0, 0, 1)]
    assert faded[0] == faded[1] != faded[2]
    assert faded[0]["psnr"] < results({})["psnr"]
    by_symbol = results({}, {**rayleigh, "fading": "symbol"})
    assert by_symbol["arrived"] > faded[0]["arrived"]


@pytest.mark.parametrize(
    ("learner", "channel", "problem"),
    [
        ({}, {"name": "mimo", "uses": 1}, "needs channel awgn or one with fading, and 'mimo' is none"),
        ({"code": "ldpc"}, {**CHANNEL, "name": "rayleigh"}, "needs channel awgn, and 'rayleigh' is none"),
        ({}, {**CHANNEL, "uses": None}, "channel.uses is unset"),
        ({"code": "ldpc"}, {**CHANNEL, "symbols": "real"}, "set channel.symbols = 'complex'"),
        ({"code": "ldpc"}, {**CHANNEL, "uses": 10}, "frames of 20 information bits of 40 coded ones"),
    ],
)
def test_what_cannot_be_told_is_refused(learner: dict[str, Any], channel: dict[str, Any], problem: str) -> None:
    channel = {key: value for key, value in channel.items() if value is not None}
    with pytest.raises(ScenarioError, match=problem):
        scenarios.validate(tree(learner, channel))


def test_an_ldpc_code_has_a_cliff() -> None:
    """48 symbols of 16-QAM at rate 1/2 are 96 bits, 24 of them a checksum; capacity allows that from 4.8 dB on."""
    pytest.importorskip("sionna.phy.fec.ldpc")
    found = results({"code": "ldpc", "test_snr_db": [0.0, 7.0, 20.0, math.inf]})
    assert capacity.bits(48, 10 * math.log10(3)) == pytest.approx(96)
    above = psnr_within(96 - 24)
    assert found["psnr-at-20dB"] == found["psnr-at-infdB"] == pytest.approx(above)
    assert found["psnr-at-0dB"] == pytest.approx(psnr_within(0))
    assert found["arrived-at-0dB"] == 0 < found["arrived-at-7dB"] < found["arrived-at-20dB"]
    assert psnr_within(0) < found["psnr-at-7dB"] < above
    assert found["channel-uses"] == 48 * IMAGES
    assert found["power/transmit"] == pytest.approx(1, abs=0.05)
    assert found["snr/received-db"] == pytest.approx(10, abs=0.5)


def test_modulation_and_rate_choose_how_much_is_sent() -> None:
    pytest.importorskip("sionna.phy.fec.ldpc")
    sent = {
        (modulation, rate): results(
            {"code": "ldpc", "modulation": modulation, "rate": rate}, {**CHANNEL, "snr_db": 40.0}
        )
        for modulation, rate in ((4, 0.75), (16, 0.75), (64, 0.5))
    }
    for (modulation, rate), found in sent.items():
        payload = 48 * math.log2(modulation) * rate - 24
        assert found["psnr"] == pytest.approx(psnr_within(payload))


def test_noise_is_of_client_and_round() -> None:
    pytest.importorskip("sionna.phy.fec.ldpc")
    channel = {**CHANNEL, "snr_db": 7.0}
    told = [results({"code": "ldpc"}, channel, *place)["arrived"] for place in ((0, 1), (0, 1), (1, 1), (0, 2))]
    assert told[0] == told[1]
    assert len(set(told)) > 1
