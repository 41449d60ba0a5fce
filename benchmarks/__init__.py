"""Figures of the project's own work; ``python -m benchmarks`` prints them."""
