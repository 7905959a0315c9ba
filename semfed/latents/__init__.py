"""Where latents come from: encoders trained here, pretrained ones, or files of precomputed latents."""

from semfed.latents.base import Encode, LatentSource, Place

__all__ = ["Encode", "LatentSource", "Place"]
