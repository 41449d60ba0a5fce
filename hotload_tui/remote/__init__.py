"""A manager on a Unix socket, and the same interface on the other side of it."""

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
    from hotload_tui.remote import server  # a host's side: no command that asks one waits for it

    found: object = getattr(server, name)
    return found
