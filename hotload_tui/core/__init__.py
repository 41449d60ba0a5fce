"""The engine: it compiles, loads, swaps and watches plugins, without a terminal and without printing."""
