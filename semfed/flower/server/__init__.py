"""The server's side of the border: federation, exchanges, accounts, checkpoints and the base of strategies."""
