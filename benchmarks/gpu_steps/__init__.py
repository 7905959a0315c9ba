"""The steps of ``benchmarks/gpu.py``: each yields what it measures by name, to be called one after the other."""
