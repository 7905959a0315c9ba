"""The ``ServerApp`` that scenarios name: ``serverapp = "semfed.flower.server_app:app"``."""

from semfed.flower.server.app import app

__all__ = ["app"]
