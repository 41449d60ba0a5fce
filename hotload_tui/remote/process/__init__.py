"""Run the plugins in a separate host process, which is started, supervised and restarted."""

from hotload_tui.remote.process.hosted import HostedManager

__all__ = ["HostedManager"]
