"""Image data: sources, tasks as label maps, partitions among clients, tensors on the device."""

from semfed.data.dataset import Dataset, ImageSet

__all__ = ["Dataset", "ImageSet"]
