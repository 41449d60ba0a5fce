"""Example programs with plugins, to read and to start from."""
