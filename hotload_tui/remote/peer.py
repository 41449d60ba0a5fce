"""Who is at the other end of a Unix socket."""

from __future__ import annotations

import os
import socket
import struct
from typing import Final

from hotload_tui.core.errors import RefusedError

_LINUX_CREDENTIALS: Final = struct.Struct("3i")  # ucred: pid, uid, gid
_LOCAL_LEVEL: Final = 0  # SOL_LOCAL of macOS, which Python does not name
_MACOS_CREDENTIALS: Final = struct.Struct("2Ih16I")  # xucred: version, uid, number of groups, groups


def check_peer(connection: socket.socket) -> None:
    """Refuse a peer that belongs to another user; systems that do not tell have the folder's mode only.

    Raises:
        RefusedError: it does.
        OSError: the peer has left already.

    """
    uid = _uid_of(connection)
    if uid is not None and uid != os.getuid():
        raise RefusedError(f"the other side belongs to user {uid}, not to you ({os.getuid()})")


def _uid_of(connection: socket.socket) -> int | None:
    if hasattr(socket, "SO_PEERCRED"):
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _LINUX_CREDENTIALS.size)
        _, uid, _ = _LINUX_CREDENTIALS.unpack(credentials)
        return int(uid)
    if hasattr(socket, "LOCAL_PEERCRED"):
        credentials = connection.getsockopt(_LOCAL_LEVEL, socket.LOCAL_PEERCRED, _MACOS_CREDENTIALS.size)
        _, uid, *_ = _MACOS_CREDENTIALS.unpack(credentials)
        return int(uid)
    return None
