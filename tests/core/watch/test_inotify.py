"""What the system's notification tells on Linux, whatever is done to the directories."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from hotload_tui.core.watch.notifier import InotifyNotifier, notifier_for, overflow
from tests.waiting import PATIENCE


class Listen(Protocol):
    """Hangs the bell below directories."""

    def __call__(self, *directories: Path, is_partial: bool = False) -> InotifyNotifier:
        """Give it; it is closed when the test ends."""
        ...


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a directory with one in it."""
    (tmp_path / "root" / "inner").mkdir(parents=True)
    return tmp_path / "root"


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Give a function that hangs the bell below a directory, and close all afterwards."""
    with contextlib.ExitStack() as opened:

        def make_notifier(*directories: Path, is_partial: bool = False) -> InotifyNotifier:
            notifier = InotifyNotifier(list(map(str, directories)), is_partial)
            opened.callback(notifier.close)
            return notifier

        yield make_notifier


OPEN = Path("/proc/self/fd")


class Asked:
    """Asked for the second time it ends the listening."""

    def __init__(self) -> None:
        self._is_asked = False

    def is_set(self) -> bool:
        """Tell whether it was asked before."""
        was_asked, self._is_asked = self._is_asked, True
        return was_asked


def rings(notifier: InotifyNotifier) -> set[Path] | None:
    """Return what rang by now; ``None`` if nothing did, or too much."""
    notifier.interrupt()
    paths = notifier.wait(Asked())
    return None if paths is None else set(map(Path, paths))


def heard(notifier: InotifyNotifier, act: Callable[[], object]) -> set[Path]:
    """Return the paths that ring while something is done."""
    while rings(notifier) is not None:
        pass
    act()
    paths: set[Path] = set()
    while (more := rings(notifier)) is not None:
        paths |= more
    return paths


def test_a_save_rings_by_its_path(root: Path, listen: Listen) -> None:
    """Also in a directory below, and with a name that is not UTF-8."""
    notifier = listen(root)
    file = root / "inner" / os.fsdecode(b"caf\xe9.py")
    assert heard(notifier, lambda: file.write_text("A = 1\n")) == {file}


def test_what_comes_is_listened_to_with_all_below_it(root: Path, listen: Listen) -> None:
    """A tree that is made, one that is moved, and a part of it that is moved out of it."""
    notifier = listen(root)
    heard(notifier, lambda: (root / "a" / "b" / "c").mkdir(parents=True))
    for before, after, place in (("a", "z", "z/b/c"), ("z/b", "b", "b/c"), ("b/c", "z/c", "z/c")):
        file = root / place / "x.py"
        heard(notifier, functools.partial((root / before).rename, root / after))
        assert heard(notifier, file.touch) == {file}
        file.unlink()


def test_what_went_is_not_listened_to_any_more(root: Path, listen: Listen, tmp_path: Path) -> None:
    """A directory that was moved away and lives on elsewhere."""
    notifier = listen(root)
    heard(notifier, lambda: (root / "inner").rename(tmp_path / "elsewhere"))
    assert heard(notifier, (tmp_path / "elsewhere" / "x.py").touch) == set()


def test_behind_a_link_it_listens_too_and_a_circle_ends(root: Path, listen: Listen, tmp_path: Path) -> None:
    """A link to a directory elsewhere, and one back to where it lies."""
    (tmp_path / "other").mkdir()
    (root / "link").symlink_to(tmp_path / "other")
    (root / "circle").symlink_to(root)
    notifier = listen(root)
    assert heard(notifier, (tmp_path / "other" / "x.py").touch) == {root / "link" / "x.py"}


def test_more_than_the_system_can_keep_is_said(root: Path, listen: Listen) -> None:
    """Then anything may have changed, and directories that came unheard are listened to."""
    files = [root / "even", root / "odd"]
    for each in files:
        each.touch()
    notifier = listen(root)
    for number in range(overflow() * 10):
        os.utime(files[number % 2], (number, number))
    (root / "late").mkdir()
    assert (root / "late") not in heard(notifier, lambda: None)
    file = root / "late" / "x.py"
    assert heard(notifier, file.touch) == {file}


def test_a_directory_that_is_not_there_is_refused(root: Path, listen: Listen) -> None:
    """Unless only what can be heard is asked for."""
    gone, file = root / "gone", root / "x.py"
    with pytest.raises(FileNotFoundError, match="gone"):
        listen(gone)
    notifier = listen(gone, root, is_partial=True)
    assert heard(notifier, file.touch) == {file}


def test_a_directory_that_went_and_was_deleted_is_no_trouble(
    root: Path, listen: Listen, tmp_path: Path
) -> None:
    """The system has stopped listening by itself before the move is heard of."""
    notifier, file = listen(root), root / "x.py"

    def move_and_delete() -> None:
        (root / "inner").rename(tmp_path / "elsewhere")
        (tmp_path / "elsewhere").rmdir()

    assert root / "inner" in heard(notifier, move_and_delete)
    assert heard(notifier, file.touch) == {file}


@pytest.mark.parametrize(
    ("call", "number", "limit"),
    [
        ("inotify_simple.INotify.add_watch", errno.ENOSPC, "max_user_watches"),
        ("inotify_simple.INotify.__init__", errno.EMFILE, "max_user_instances"),
        ("os.eventfd", errno.EMFILE, "limit of files"),
    ],
    ids=["watches", "instances", "files"],
)
def test_a_limit_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, limit: str
) -> None:
    """The message says which, no descriptor stays open, and watchfiles, which meets it too, is not tried."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    before = set(OPEN.iterdir())
    monkeypatch.setattr(call, refuse)
    with pytest.raises(OSError, match=limit):
        notifier_for("inotify")([str(root)], False)
    assert set(OPEN.iterdir()) == before


def test_whoever_listens_can_be_interrupted(root: Path, listen: Listen) -> None:
    """It asks then whether it is ended."""
    notifier, ended = listen(root), threading.Event()
    listener = threading.Thread(target=notifier.wait, args=[ended])
    listener.start()
    ended.set()
    notifier.interrupt()
    listener.join(PATIENCE)
    assert not listener.is_alive()


def test_closed_it_gives_back_what_it_took(root: Path) -> None:
    """No descriptor stays open, also where it cannot listen at all."""
    before = set(OPEN.iterdir())
    notifier = InotifyNotifier([str(root)], False)
    assert set(OPEN.iterdir()) > before
    notifier.close()
    with pytest.raises(FileNotFoundError):
        InotifyNotifier([str(root / "gone")], False)
    assert set(OPEN.iterdir()) == before
