"""The ``ClientApp`` that scenarios name: ``clientapp = "semfed.flower.client_app:app"``."""

from semfed.flower.client.app import make_client_app

app = make_client_app()
