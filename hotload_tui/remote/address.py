"""The sockets of running hosts: where they are, which of them are alive, and whose they are.

``<folder>/<hash of the runtime directory>-<pid>.sock``; the folder belongs to one user, and no other user may
enter it. The hash keeps the path short: a Unix socket's path may have 107 bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import stat
import struct
from pathlib import Path
from typing import Final, NamedTuple

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


_LONGEST_FOLDER: Final = 60  # bytes; leaves room for the longest name below macOS' limit of 103
_NAME: Final = re.compile(r"[0-9a-f]{16}-(\d+)\.sock")
_CONNECT_TIMEOUT: Final = 1.0  # seconds


class Host(NamedTuple):
    """A running host of one project."""

    pid: int
    socket: Path


def folder() -> Path:
    """Return the user's folder for sockets; it need not exist.

    ``$XDG_RUNTIME_DIR/hotload`` where that is a directory of this user (after ``sudo`` it is not),
    else ``/tmp/hotload-<uid>``: not ``$TMPDIR``, which differs between the shells of one user.
    """
    session = os.environ.get("XDG_RUNTIME_DIR", "")
    if session and len(os.fsencode(session)) + len("/hotload") <= _LONGEST_FOLDER:
        with contextlib.suppress(OSError):
            if Path(session).is_absolute() and Path(session).stat().st_uid == os.getuid():
                return Path(session) / "hotload"
    return Path(f"/tmp/hotload-{os.getuid()}")  # noqa: S108 - its owner and mode are verified below


def private_folder() -> Path:
    """Return the user's folder for sockets, made if missing, with mode 0700, and free of dead ones.

    Raises:
        RefusedError: what is there belongs to somebody else or is no directory.

    """
    path = folder()
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        _verify(path)
        path.chmod(0o700)
    except OSError as error:
        raise RefusedError(f"{path}: no folder for sockets can be made there: {error.strerror}") from error
    _sweep(path)
    return path


def socket_name(project: Path, pid: int) -> str:
    """Return the file name of the socket of host ``pid`` for the runtime directory ``project``."""
    return f"{_hash(project)}-{pid}.sock"


def find_hosts(project: Path) -> list[Host]:
    """Return the running hosts of the runtime directory ``project``, in order of pid.

    Sockets at which nobody listens any more are removed; a host that is busy is alive.

    Raises:
        RefusedError: the folder for sockets belongs to somebody else.

    """
    if not hasattr(socket, "AF_UNIX"):
        return []
    path = folder()
    if not os.path.lexists(path):
        return []
    _verify(path)
    hosts = []
    for file in path.glob(f"{_hash(project)}-*.sock"):
        match = _NAME.fullmatch(file.name)
        if match is None:
            continue
        if is_alive(file):
            hosts.append(Host(int(match[1]), file))
        else:
            file.unlink(missing_ok=True)
    return sorted(hosts)


def successor_of(path: Path, since: int) -> Path | None:
    """Return the socket of the host that takes the place of the one at ``path``, or ``None``.

    That is whoever listens at the same path, else the newest host of the same project whose socket was made
    after ``since`` (in nanoseconds of the file system's clock).
    """
    if is_alive(path):
        return path
    if not _NAME.fullmatch(path.name):
        return None
    files = path.parent.glob(f"{path.name.partition('-')[0]}-*.sock")
    newer = [(born(file), file) for file in files if _NAME.fullmatch(file.name) and born(file) > since]
    return next((file for _, file in sorted(newer, reverse=True) if is_alive(file)), None)


def born(path: Path) -> int:
    """Return when a socket was made, in nanoseconds of the file system's clock; 0 if it is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def is_alive(path: Path) -> bool:
    """Tell whether a process listens at the socket; in doubt (it does not answer, it refuses us) it does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_TIMEOUT)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def _sweep(path: Path) -> None:
    """Remove the sockets of hosts that were killed; of projects that are gone nobody else would."""
    for file in path.glob("*.sock"):
        if _NAME.fullmatch(file.name) and not is_alive(file):
            file.unlink(missing_ok=True)


def _hash(project: Path) -> str:
    return hashlib.sha256(os.fsencode(project.resolve())).hexdigest()[:16]


def _verify(path: Path) -> None:
    """Refuse a folder in which somebody else could put or exchange sockets."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise RefusedError(f"{path}: must be a directory for sockets; remove what is there")
    if status.st_uid != os.getuid():
        raise RefusedError(
            f"{path}: belongs to user {status.st_uid}, not to you;"
            " set XDG_RUNTIME_DIR to a folder of your own for hosts and commands"
        )
