"""The conductor: the other rooms return values or raise; only this one publishes events."""

from hotload_tui.core.manager.manager import HotloadManager

__all__ = ["HotloadManager"]
