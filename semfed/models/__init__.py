"""Encoders and decoders of the papers, by name."""

from semfed.models.base import Model, build

__all__ = ["Model", "build"]
