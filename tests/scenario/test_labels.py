"""What a setting is called on an axis is declared with its field, or follows from its name."""

import pytest
from pydantic import Field

from semfed.scenario import overrides
from semfed.scenario.labels import _title, label, labels
from semfed.scenario.settings import StrictModel


@pytest.mark.parametrize(
    ("setting", "title", "said"),
    [
        ("channel.snr_db", "SNR (dB)", "SNR (dB)"),
        ("channel.coherence_time_s", None, "coherence time (s)"),
        ("channel.carrier_ghz", None, "carrier (GHz)"),
        ("training.batch_size", None, "batch size"),
        ("strategy.m", None, "m"),  # a name, not metres
        ("strategy.lambda_ms", None, "lambda ms"),  # no unit of ours
    ],
)
def test_words_and_unit(setting: str, title: str | None, said: str) -> None:
    assert label(setting, title) == said


def test_a_field_that_is_declared_again_keeps_its_title() -> None:
    class Base(StrictModel):
        snr_db: float = Field(default=10, title="SNR (dB)")

    class Other(Base):
        snr_db: float = 3.0

    assert _title(Other, "snr_db") == "SNR (dB)"
    assert _title(Other, "nothing") is None


def test_the_swept_settings_of_a_scenario() -> None:
    assert labels(overrides.load("digits")) == {}
    swept = overrides.load("digits", sweep=["snr_db=0,5", "training.lr=0.1,0.01", "batch_size=8,16"])
    assert labels(swept) == {
        "channel.snr_db": "SNR (dB)",
        "training.lr": "learning rate",
        "training.batch_size": "batch size",
    }
    of_one_learner = overrides.load("iopm-mnist", sweep="lambda_eff=0.1,0.2")
    assert labels(of_one_learner) == {"learner.lambda_eff": "weight λ of the rate"}
