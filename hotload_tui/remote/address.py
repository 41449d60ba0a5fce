"""The sockets of running hosts: their paths, whether they are alive, and which user owns them.

The path is ``<folder>/<hash of the runtime directory>-<pid>.sock``. The folder belongs to one user, and no
other user may enter it. The hash keeps the path short: a Unix socket's path may have 107 bytes.
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
_LOCAL_LEVEL: Final = 0  # SOL_LOCAL of macOS, for which Python has no constant
_MACOS_CREDENTIALS: Final = struct.Struct("2Ih16I")  # xucred: version, uid, number of groups, groups


def check_peer(connection: socket.socket) -> None:
    """Refuse a peer that belongs to another user.

    On a system that does not report the peer's user, only the mode of the folder protects the socket.

    Raises:
        RefusedError: the peer belongs to another user.
        OSError: the peer has already left.

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
    """Return the user's folder for sockets; it may be missing.

    The folder is ``$XDG_RUNTIME_DIR/hotload`` if this user owns ``$XDG_RUNTIME_DIR`` (after ``sudo`` another
    user does), else ``/tmp/hotload-<uid>``: ``$TMPDIR`` differs between the shells of one user. If another
    user has taken that name, the folder is ``~/.cache/hotload``.
    """
    session = os.environ.get("XDG_RUNTIME_DIR", "")
    if session and len(os.fsencode(session)) + len("/hotload") <= _LONGEST_FOLDER:
        with contextlib.suppress(OSError):
            if Path(session).is_absolute() and Path(session).stat().st_uid == os.getuid():
                return Path(session) / "hotload"
    usual = Path(f"/tmp/hotload-{os.getuid()}")  # noqa: S108 - _verify checks its owner
    with contextlib.suppress(OSError, RuntimeError):  # nobody has taken it, or there is no home
        spare = Path.home() / ".cache" / "hotload"
        if usual.lstat().st_uid != os.getuid() and len(os.fsencode(spare)) <= _LONGEST_FOLDER:
            return spare
    return usual


def private_folder() -> Path:
    """Create the user's folder for sockets with mode 0700, remove dead sockets from it, and return it.

    Raises:
        RefusedError: the path belongs to another user, is no directory, or cannot be created.

    """
    path = folder()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        _verify(path)
        path.chmod(0o700)
    except OSError as error:
        raise RefusedError(f"{path}: cannot create a folder for sockets: {error.strerror}") from error
    _sweep(path)
    return path


def socket_name(project: Path, pid: int) -> str:
    """Return the file name of the socket of host ``pid`` for the runtime directory ``project``."""
    return f"{_hash(project)}-{pid}.sock"


def find_hosts(project: Path) -> list[Host]:
    """Return the running hosts of the runtime directory ``project``, in order of pid.

    The function removes sockets on which no process listens any more. A busy host counts as alive.

    Raises:
        RefusedError: the folder for sockets belongs to another user, or is no directory.

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
    """Return the socket of the host that replaces the host at ``path``, or ``None``.

    This is ``path`` itself if a process listens there, else the socket of the newest live host of the same
    project that was made after ``since`` (in nanoseconds of the file system's clock).
    """
    if is_alive(path):
        return path
    if not _NAME.fullmatch(path.name):
        return None
    files = path.parent.glob(f"{path.name.partition('-')[0]}-*.sock")
    newer = [(born(file), file) for file in files if _NAME.fullmatch(file.name) and born(file) > since]
    return next((file for _, file in sorted(newer, reverse=True) if is_alive(file)), None)


def born(path: Path) -> int:
    """Return the creation time of a socket in nanoseconds of the file system's clock; 0 if it is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def is_alive(path: Path) -> bool:
    """Return whether a process listens on the socket; an unclear answer, such as a timeout, counts as yes."""
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
    """Remove the sockets of killed hosts of all projects; ``find_hosts`` does this for one project only."""
    for file in path.glob("*.sock"):
        if _NAME.fullmatch(file.name) and not is_alive(file):
            file.unlink(missing_ok=True)


def _hash(project: Path) -> str:
    return hashlib.sha256(os.fsencode(project.resolve())).hexdigest()[:16]


def _verify(path: Path) -> None:
    """Refuse a folder in which another user could create or replace sockets."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise RefusedError(
            f"{path}: must be a directory for sockets; remove the file,"
            " or set XDG_RUNTIME_DIR to a folder that you own, for hosts and commands"
        )
    if status.st_uid != os.getuid():
        raise RefusedError(
            f"{path}: belongs to user {status.st_uid}, not to you;"
            " set XDG_RUNTIME_DIR to a folder that you own, for hosts and commands"
        )
