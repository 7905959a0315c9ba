"""Networks that are told the SNR: what they are told is what the channel does, in training, in tests and in links."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import semfed
from semfed.channels import Channel, ChannelState
from semfed.errors import ScenarioError, SemfedError
from semfed.flower.client.learner import Learner
from semfed.models.layers.snr import LIMIT_DB, Attention, SNRAware, telling
from semfed.models.mlp import FullyConnected
from semfed.scenario import TrainingSettings, plugins
from semfed.training.end_to_end import EndToEnd
from semfed.training.objective import Networks
from semfed.training.step import AutogradStep, make_step
from tests.settings import bases

SPREAD = {"channel.snr_spread_db": 10.0}
TOLD = SPREAD | {"model.snr_input": "both"}


def make(**table: Any) -> Channel:
    channel: Channel = plugins.parse("channels", table).make()
    return channel


def aware(part: Any = "decoder") -> SNRAware:
    torch.manual_seed(0)
    return SNRAware(FullyConnected(nn.Linear(3, 3)), 3, part)


def test_factors_are_those_of_the_formula() -> None:
    attention = Attention(3)
    x, snr = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]]), torch.tensor([[7.0], [-12.0]])
    first, _, second, _ = attention.factors
    weights = [p.detach().double().numpy() for p in (first.weight, first.bias, second.weight, second.bias)]
    inputs = np.concatenate([x.numpy(), snr.numpy() / 10], axis=1).astype(float)
    logits = np.maximum(inputs @ weights[0].T + weights[1], 0) @ weights[2].T + weights[3]
    expected = x.numpy() / (1 + np.exp(-logits))
    np.testing.assert_allclose(attention(x, snr).detach().numpy(), expected, rtol=1e-5)


def test_one_snr_for_all_is_that_snr_for_each_and_no_noise_is_a_large_one() -> None:
    network, x = aware(), torch.randn(4, 3)
    assert torch.equal(network(x, 5.0), network(x, torch.full((4, 1), 5.0)))
    assert torch.equal(network(x, math.inf), network(x, LIMIT_DB))
    assert not torch.equal(network(x, 5.0), network(x, -5.0))
    with telling([network], 3.0):
        with telling([network], -3.0):
            assert torch.equal(network(x), network(x, -3.0))
        assert torch.equal(network(x), network(x, 3.0))
    with pytest.raises(SemfedError, match="nobody has told the decoder the SNR"):
        network(x)
    with pytest.raises(SemfedError, match="told the SNR of 2 samples and got 4"):
        network(x, torch.zeros(2, 1))


@pytest.mark.parametrize("name", ["awgn", "rayleigh", "torch.nn:Identity"])
def test_the_noise_has_the_snr_that_was_told(name: str) -> None:
    channel = make(name=name, snr_db=4.0, snr_spread_db=10.0, power="none")
    state = ChannelState(torch.Generator().manual_seed(0), trains=True)
    told = channel.draw_snr(200, torch.empty(0), state)
    assert isinstance(told, Tensor)
    assert told.shape == (200, 1)
    assert (told.min() < -5, told.max() > 13) == (True, True)
    for _ in range(2):  # both transmissions of a minibatch
        noise = channel(torch.zeros(200, 4000), state).double()
        measured = -10 * noise.square().mean(1).log10()
        torch.testing.assert_close(measured, told[:, 0].double(), atol=0.5, rtol=0)  # 4000 numbers: 0.1 dB
    assert channel.draw_snr(3, torch.empty(0), ChannelState(torch.Generator())) == 4.0, "tests are at one SNR"


def test_no_step_that_is_written_out_passes_over_what_is_told() -> None:
    plain = {"encoder": FullyConnected(nn.Linear(3, 3)), "decoder": FullyConnected(nn.Linear(3, 3))}

    class Pair(EndToEnd):
        def networks(self, build: Any) -> Networks:
            raise NotImplementedError("there are some")

    objective, settings = Pair(), TrainingSettings(lr=0.1)
    assert not isinstance(make_step(objective, Networks(plain), settings), AutogradStep)
    for part in plain:
        nets = Networks(plain | {part: aware(part)})
        assert nets.hearing == [getattr(nets, part)]
        assert isinstance(make_step(objective, nets, settings), AutogradStep)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool, Any]]:
    """What networks are told: which part, whether while training, and the SNR."""
    noted: list[tuple[str, bool, Any]] = []
    forward = SNRAware.forward

    def listen(self: SNRAware, x: Tensor, snr_db: Any = None) -> Tensor:
        noted.append((self.part, self.training, self.snr_db if snr_db is None else snr_db))
        return forward(self, x, snr_db)

    monkeypatch.setattr(SNRAware, "forward", listen)
    return noted


def test_clients_train_and_test_with_the_snr_that_there_is(heard: list[Any], tmp_path: Path) -> None:
    changes = TOLD | {"learner.test_snr_db": [-5, 20], "clients.b.snr_db": 9.0}
    semfed.run(bases.BASES["fedavg"](), overrides=changes, out=tmp_path / "run")
    parts = {part for part, _, _ in heard}
    assert parts == {"encoder", "decoder"}
    drawn = torch.cat([snr.flatten() for part, trains, snr in heard if trains and part == "encoder"])
    assert drawn.min() >= 5 - 10
    assert drawn.max() <= 9 + 10
    assert drawn.std() > 4
    again = torch.cat([snr.flatten() for part, trains, snr in heard if trains and part == "decoder"])
    assert torch.equal(drawn, again)
    assert {snr for _, trains, snr in heard if not trains} == {5.0, 9.0, -5.0, 20.0}


@pytest.mark.parametrize(("part", "told"), [("encoder", ["encoder"]), ("decoder", ["decoder"])])
def test_one_part_alone_is_told(part: str, told: list[str], heard: list[Any], tmp_path: Path) -> None:
    semfed.run(bases.BASES["plain"](), overrides=SPREAD | {"model.snr_input": part}, out=tmp_path / "run")
    assert sorted({name for name, _, _ in heard}) == told


def records(folder: Path) -> list[str]:
    return (folder / "metrics.jsonl").read_text().splitlines()


def test_arms_of_one_process_do_not_share_networks_that_differ_in_it(tmp_path: Path) -> None:
    """Each arm has the numbers that it has alone."""
    arms = [{"name": "untold", "channel": {"snr_spread_db": 10.0}}, {"name": "told", "model": {"snr_input": "both"}}]
    arms[1] |= {"channel": {"snr_spread_db": 10.0}}
    for base in ("fedavg", "plain"):
        whole = semfed.run(bases.BASES[base]() | {"arms": arms}, out=tmp_path / base)
        apart = []
        for name in ("untold", "told"):
            scenario = bases.BASES[base]() | {"arms": arms}
            apart += records(semfed.run(scenario, arms=name, out=tmp_path / f"{base}-{name}").folder)
        assert sorted(records(whole.folder)) == sorted(apart)


def test_unset_it_is_in_no_scenario_and_the_networks_weights_are_the_same(tmp_path: Path) -> None:
    assert "snr_input" not in bases.scenario("plain", {}).to_toml()
    untold, told = (
        semfed.run(bases.BASES["plain"](), overrides=changes | {"training.lr": 1e-30}, out=tmp_path / str(k)).link()
        for k, changes in enumerate((SPREAD, TOLD))
    )
    weights = {name.replace(".network.", "."): value for name, value in told.state_dict().items()}
    for name, value in untold.state_dict().items():
        assert torch.equal(weights[name], value), name


def trained(out: Path) -> semfed.Link:
    changes = TOLD | {"clients.a.snr_db": 2.0}
    return semfed.run(bases.BASES["plain"](), overrides=changes, out=out).link(client="a")


def test_a_link_knows_the_snr(tmp_path: Path) -> None:
    link = trained(tmp_path / "run")
    images = torch.rand(5, *link.images.shape)
    standard = link.standardise(images)
    assert torch.equal(link.encoder(standard), link.encoder(standard, 2.0))
    assert not torch.equal(link.encoder(standard), link.encoder(standard, 12.0))
    link.save(tmp_path / "link")
    again = semfed.Link.load(tmp_path / "link")
    assert torch.equal(link.logits(images)["digit"], again.logits(images)["digit"])


@pytest.mark.long
def test_an_exported_half_has_a_place_for_the_snr(tmp_path: Path) -> None:
    link = trained(tmp_path / "run")
    images = torch.rand(5, *link.images.shape)
    folder = link.export(tmp_path / "halves")
    about = json.loads((folder / "link.json").read_text())
    assert about["encoder"]["SNR in dB"] == about["decoder"]["SNR in dB"] == [["batch", 1]]
    sender, receiver = (torch.export.load(folder / f"{half}.pt2").module() for half in ("encoder", "decoder"))
    snr = torch.tensor([[-3.0], [0.0], [4.0], [9.0], [20.0]])
    sent = sender(images, snr)
    torch.testing.assert_close(sent, link.encoder(link.standardise(images), snr))
    torch.testing.assert_close(receiver(sent, snr), link.decoder(sent, snr))


class OwnEncoder(Learner):
    """Makes an encoder that the scenario does not name."""

    def networks(self, build: Any) -> Networks:
        build.encoder()
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
        return Networks({"encoder": encoder}, {"decoder": build.decoder(self.task.size)})

    def loss(self, nets: Networks, batch: Any, send: Any) -> Tensor:
        return nn.functional.cross_entropy(nets.decoder(send(nets.encoder(batch.images))), batch.labels)


class TwoViews(EndToEnd, Learner):
    """Sends a minibatch twice in one transmission."""

    def networks(self, build: Any) -> Networks:
        return Networks({"encoder": build.encoder()}, {"decoder": build.decoder(self.task.size)})

    def loss(self, nets: Networks, batch: Any, send: Any) -> Tensor:
        logits = nets.decoder(send(nets.encoder(torch.cat([batch.images, batch.images]))))
        return nn.functional.cross_entropy(logits, torch.cat([batch.labels, batch.labels]))


class Own(nn.Module):
    """A channel with noise of its own, of which nobody knows how much there is."""

    def __init__(self, snr_db: float | None = None) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("fedcl", TOLD, "learner 'split' cannot be told the SNR; leave it out, or take learner 'joint' or 'multitask'"),
    ("receivers", TOLD, "learner 'multi-receiver' cannot be told the SNR"),
    ("cooperative", {"model.snr_input": "both"}, "learner 'cooperative' cannot be told the SNR"),
    ("alignment", {"model.snr_input": "both"}, "learner 'aligned-user' cannot be told the SNR"),
    ("plain", {"model.snr_input": "both"}, "clients train at one SNR alone, so it tells nothing: set channel.snr_spr"),
    ("plain", {"model.snr_input": "all"}, "model.snr_input = 'all': Input should be 'encoder', 'decoder' or 'both'"),
    ("plain", TOLD | {"learner": f"{__name__}:OwnEncoder"}, "networks of its own, which do not hear the SNR"),
    (
        "plain",
        TOLD | {"learner": f"{__name__}:TwoViews", "on_client_failure": "fail"},
        "told the SNR of 20 samples and got 40",
    ),
]


@pytest.mark.parametrize(("base", "changes", "sentence"), REFUSED)
def test_what_cannot_be_told_is_refused(base: str, changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SemfedError) as caught:
        semfed.run(bases.BASES[base](), overrides=changes, out=tmp_path / "run")
    assert sentence in " ".join(str(caught.value).split())


def test_different_snrs_of_clients_are_something_to_tell(tmp_path: Path) -> None:
    changes = {"model.snr_input": "decoder", "clients.a.snr_db": 15.0}
    assert bases.scenario("plain", changes).model.snr_input == "decoder"
    with pytest.raises(ScenarioError, match="has no snr_db to tell"):
        bases.scenario("plain", {"model.snr_input": "decoder", "channel": {"name": f"{__name__}:Own", "uses": 4}})
