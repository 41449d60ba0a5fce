import os
import socket
import stat
from pathlib import Path

import pytest

from hotload_tui.core.errors import RefusedError
from hotload_tui.remote import Server, find_hosts
from hotload_tui.remote.address import folder, private_folder, socket_name


def mode_of(path: Path) -> int:
    """Return the permission bits of a path."""
    return stat.S_IMODE(path.stat().st_mode)


def dead_socket(path: Path) -> Path:
    """Leave a socket without a listener, as a killed host does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))
    return path


def test_only_i_can_reach_my_hosts(server: Server, sockets: Path) -> None:
    """Only the user can access the socket and its folder."""
    assert server.socket.parent == sockets
    assert (mode_of(sockets), mode_of(server.socket)) == (0o700, 0o600)


def test_a_folder_that_others_may_enter_is_closed(sockets: Path) -> None:
    """A folder with loose permissions is restricted to its user."""
    sockets.mkdir()
    sockets.chmod(0o777)
    assert mode_of(private_folder()) == 0o700


@pytest.mark.parametrize("session", ["", "relative", "/nowhere/at/all", "/" + "x" * 90])
def test_without_a_session_folder_the_socket_goes_to_tmp(
    monkeypatch: pytest.MonkeyPatch, session: str
) -> None:
    """If XDG_RUNTIME_DIR is unusable, the folder is in /tmp with the user id in its name."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", session)
    assert folder() == Path(f"/tmp/hotload-{os.getuid()}")


def test_a_link_is_not_followed(sockets: Path, tmp_path: Path) -> None:
    """A link in the place of the folder is refused, because it could lead to another user's folder."""
    sockets.symlink_to(tmp_path)
    with pytest.raises(RefusedError, match="must be a directory"):
        private_folder()
    with pytest.raises(RefusedError, match="must be a directory"):
        find_hosts(tmp_path)


def test_a_folder_of_somebody_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the folder belongs to another user, it is refused with an error that names the fix."""
    stranger = 2_000_000_000 + os.getpid()
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setattr(os, "getuid", lambda: stranger)
    made = folder()
    try:
        with pytest.raises(RefusedError, match=r"belongs to user \d+, not to you; set XDG_RUNTIME_DIR"):
            private_folder()
    finally:
        made.rmdir()


@pytest.mark.skipif(os.getuid() != 0, reason="only the administrator can create a folder of another user")
def test_a_folder_that_another_user_has_taken_is_left(monkeypatch: pytest.MonkeyPatch, sockets: Path) -> None:
    """If another user has taken the folder in /tmp, hosts and commands use a folder in the home folder."""
    stranger = 2_000_000_000 + os.getpid()
    taken = Path(f"/tmp/hotload-{stranger}")
    home = sockets.parent
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setenv("HOME", str(home))
    os.chown(home, stranger, -1)
    monkeypatch.setattr(os, "getuid", lambda: stranger)
    taken.mkdir()
    os.chown(taken, 12345, -1)
    try:
        assert folder() == home / ".cache" / "hotload"
        with pytest.raises(RefusedError, match="belongs to user 0"):
            private_folder()  # this process is the administrator, and only seems to be the stranger
        assert (home / ".cache" / "hotload").is_dir()
    finally:
        taken.rmdir()


def test_a_running_host_is_found(server: Server, tmp_path: Path) -> None:
    """A host is found by any path of its plugin directory."""
    (tmp_path / "link").symlink_to(tmp_path / "plugins")
    for path in (tmp_path / "plugins", tmp_path / "link", tmp_path / "plugins" / ".." / "plugins"):
        assert find_hosts(path) == [(os.getpid(), server.socket)]


def test_hosts_of_other_projects_are_not_found(server: Server, tmp_path: Path) -> None:
    """A host of another folder is not returned, and its socket stays."""
    assert find_hosts(tmp_path / "others") == []
    assert server.socket.exists()


def test_nothing_was_ever_started(sockets: Path, tmp_path: Path) -> None:
    """A search for hosts creates no folder."""
    assert find_hosts(tmp_path) == []
    assert not sockets.exists()


def test_a_dead_socket_is_removed_and_a_live_one_never(server: Server, tmp_path: Path) -> None:
    """The socket of a killed host is removed, and that of a running host, even a busy one, stays."""
    project = tmp_path / "plugins"
    dead = dead_socket(server.socket.with_name(socket_name(project, 1)))
    busy = server.socket.with_name(socket_name(project, 2))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(busy))
        listener.listen()  # and never accepts
        assert find_hosts(project) == sorted([(2, busy), (os.getpid(), server.socket)])
    assert not dead.exists()


def test_a_new_host_sweeps_what_was_left_of_projects_that_are_gone(sockets: Path, tmp_path: Path) -> None:
    """``private_folder`` removes sockets of killed hosts, but no other files."""
    dead = dead_socket(private_folder() / socket_name(tmp_path / "gone", 1))
    other = sockets / "notes.sock"
    other.write_text("")
    private_folder()
    assert (dead.exists(), other.exists()) == (False, True)
