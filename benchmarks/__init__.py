"""Benchmarks of the project itself; ``python -m benchmarks`` prints them."""
