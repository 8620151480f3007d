"""How fast Weft is, against real switches: `python -m benchmarks`, or `make bench`."""
