"""Learners: one Flower `NumPyClient` a file."""
