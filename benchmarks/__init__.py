"""What is claimed, measured: `python -m benchmarks` (or `make bench`) writes docs/benchmarks.md."""
