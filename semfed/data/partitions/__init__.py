"""Who gets which training images: seeded, disjoint, checked."""

from semfed.data.partitions.base import AttributePartition, Partition, Rows, deal

__all__ = ["AttributePartition", "Partition", "Rows", "deal"]
