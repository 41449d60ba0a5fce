"""The ``hotload`` command."""

from hotload_tui.cli.boundary import main

__all__ = ["main"]
