"""Plugins that reload while the program runs."""
