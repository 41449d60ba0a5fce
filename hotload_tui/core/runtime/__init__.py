"""An artifact in memory: its modules, its trial, its life and its end."""
