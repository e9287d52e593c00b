"""the library's claims -> numbers, anyone can run them: `python -m benchmarks NAME`."""
