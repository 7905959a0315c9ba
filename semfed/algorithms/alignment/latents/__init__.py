"""Where latents come from: encoders trained here, pretrained ones, or files of precomputed latents."""

from semfed.algorithms.alignment.latents.base import Encode, LatentContext, LatentSource

__all__ = ["Encode", "LatentContext", "LatentSource"]
