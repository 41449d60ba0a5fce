"""The plugins in a process of their own: started, supervised, restarted."""

from hotload_tui.remote.process.hosted import HostedManager

__all__ = ["HostedManager"]
