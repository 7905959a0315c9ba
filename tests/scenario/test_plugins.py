import pytest
from flwr.serverapp.strategy import FedAvgM

from semfed.channels.awgn import AWGN
from semfed.errors import ScenarioError
from semfed.scenario import plugins


def test_built_in_parts_are_found_by_entry_point() -> None:
    for group in plugins.GROUPS:
        for name in plugins.available(group):
            assert plugins.load(group, name) is not None
    assert plugins.load("channels", "awgn") is AWGN


def test_an_explicit_attribute_is_found() -> None:
    assert plugins.load("channels", "semfed.channels.awgn:AWGN") is AWGN


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("awng", "did you mean 'awgn'"),
        ("no.such:Thing", "cannot be loaded"),
        ("semfed.channels.awgn:Nope", "cannot be loaded"),
    ],
)
def test_what_cannot_be_found_is_explained(name: str, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        plugins.load("channels", name)


@pytest.mark.parametrize("group", list(plugins.DOES))
def test_what_is_no_part_is_neither_made_nor_called(group: str) -> None:
    for name in ("tempfile:TemporaryDirectory", "os:abort"):
        with pytest.raises(ScenarioError, match=f"{name}' is none of the {group}: it has no method"):
            plugins.load(group, name)


def test_settings_of_a_stock_strategy_are_its_keyword_arguments() -> None:
    chosen = plugins.parse("strategies", {"name": "flwr.serverapp.strategy:FedAvgM", "server_learning_rate": 0.5})
    assert chosen.load() is FedAvgM
    assert chosen.settings.model_dump()["server_learning_rate"] == 0.5
    with pytest.raises(ValueError, match="did you mean 'server_learning_rate'"):
        plugins.parse("strategies", {"name": "flwr.serverapp.strategy:FedAvgM", "server_learning_rat": 0.5})


class Taken:
    """Declares no settings: its keyword arguments are its settings."""

    def __init__(self, *context: str, width: int = 3) -> None:
        self.context, self.width = context, width

    def build(self) -> None:
        """Make it look like a model."""


def test_a_choice_makes_the_part_of_its_settings() -> None:
    channel = plugins.parse("channels", {"name": "awgn", "snr_db": 7.0}).make()
    assert isinstance(channel, AWGN)
    assert channel.settings.snr_db == 7.0
    plain = plugins.parse("models", {"name": f"{__name__}:Taken", "width": 5}).make("here")
    assert (plain.context, plain.width) == (("here",), 5)
    stock = plugins.parse("strategies", {"name": "flwr.serverapp.strategy:FedAvgM", "server_learning_rate": 0.5})
    assert stock.make().server_learning_rate == 0.5
