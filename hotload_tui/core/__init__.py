"""The engine: compile, load, swap, watch. No terminal, no printing."""
