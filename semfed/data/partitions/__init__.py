"""Who gets which training images: seeded, disjoint, checked."""

from semfed.data.partitions.base import Partition, Rows, deal

__all__ = ["Partition", "Rows", "deal"]
