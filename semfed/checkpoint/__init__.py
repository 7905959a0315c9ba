"""Checkpoints: what is needed to go on with a run, written atomically and verified."""

from semfed.checkpoint.manifest import Checkpoint, Extent, StateRef, client_file, read, write

__all__ = ["Checkpoint", "Extent", "StateRef", "client_file", "read", "write"]
