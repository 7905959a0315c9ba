"""Scenarios that come with the package: one folder an experiment, no code."""
