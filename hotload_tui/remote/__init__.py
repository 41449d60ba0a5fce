"""Access to a manager through a Unix socket: the server in the host and ``RemoteManager`` in the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotload_tui.remote.address import Host, find_hosts
from hotload_tui.remote.client import RemoteManager

if TYPE_CHECKING:
    from hotload_tui.remote.server import Server, serve

__all__ = ["Host", "RemoteManager", "Server", "find_hosts", "serve"]


def __getattr__(name: str) -> object:
    if name not in ("Server", "serve"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hotload_tui.remote import server  # clients need not wait for this import

    found: object = getattr(server, name)
    return found
