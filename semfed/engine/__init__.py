"""Grids that carry messages between strategies and clients: in this process, or in Flower's own simulation."""
