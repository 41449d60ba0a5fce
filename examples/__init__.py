"""Programs with plugins, to look at and to start from."""
