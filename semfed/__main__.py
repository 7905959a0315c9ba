"""``python -m semfed``: the command line."""

from semfed.cli import app

if __name__ == "__main__":
    app()
