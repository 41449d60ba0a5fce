"""A manager on a Unix socket, and the same interface on the other side of it."""

from hotload_tui.remote.address import Host, find_hosts
from hotload_tui.remote.client import RemoteManager
from hotload_tui.remote.server import Server, serve

__all__ = ["Host", "RemoteManager", "Server", "find_hosts", "serve"]
