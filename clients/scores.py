"""Scores that several learners report."""

from semfed.events.metrics import Metric

ACCURACY = Metric("accuracy", better="higher", fraction=True, baseline="majority class")
TEST_SNRS = Metric(
    "accuracy-at-{}dB", better="higher", fraction=True, role="detail", text="accuracy", against="test SNR (dB)"
)
"""The accuracy of a model that was trained at one SNR, at the SNRs of ``test_snr_db``."""
