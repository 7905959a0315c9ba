"""The checks that the parts of this package pass, for authors of other parts."""

from semfed.testing.channels import check_channel
from semfed.testing.check import Check, CheckFailed
from semfed.testing.clients import check_client
from semfed.testing.datasets import check_dataset
from semfed.testing.models import check_model
from semfed.testing.parametrize import parametrize_with_checks
from semfed.testing.partitions import check_partition
from semfed.testing.strategies import check_strategy

__all__ = [
    "Check",
    "CheckFailed",
    "check_channel",
    "check_client",
    "check_dataset",
    "check_model",
    "check_partition",
    "check_strategy",
    "parametrize_with_checks",
]
