"""Measure what the package claims; anyone can rerun it with `python -m benchmarks NAME`."""
