"""Channels as torch modules: features, gradients, model updates and pilots all pass through the same ones."""

from semfed.channels.base import Channel, ChannelSettings, ChannelState, Decibel
from semfed.channels.meter import Meter

__all__ = ["Channel", "ChannelSettings", "ChannelState", "Decibel", "Meter"]
