"""Strategies: one algorithm a file."""
