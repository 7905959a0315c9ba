"""Channels as torch modules: features, gradients, model updates and pilots all pass through the same ones."""

from semfed.channels.base import Channel, ChannelSettings, ChannelState
from semfed.channels.meter import Meter
from semfed.scenario.settings import Decibel

__all__ = ["Channel", "ChannelSettings", "ChannelState", "Decibel", "Meter"]
