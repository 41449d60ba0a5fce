"""The events that the inotify notifier reports for changes of directories."""

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
    """Make a notifier on directories."""

    def __call__(self, *directories: Path, is_partial: bool = False) -> InotifyNotifier:
        """Return the notifier; it is closed when the test ends."""
        ...


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a directory that contains another one."""
    (tmp_path / "root" / "inner").mkdir(parents=True)
    return tmp_path / "root"


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Yield a function that makes a notifier on directories; close all notifiers afterwards."""
    with contextlib.ExitStack() as opened:

        def make_notifier(*directories: Path, is_partial: bool = False) -> InotifyNotifier:
            notifier = InotifyNotifier(list(map(str, directories)), is_partial)
            opened.callback(notifier.close)
            return notifier

        yield make_notifier


OPEN = Path("/proc/self/fd")


class Asked:
    """An end signal that is set from the second check on."""

    def __init__(self) -> None:
        self._is_asked = False

    def is_set(self) -> bool:
        """Return whether this is not the first check."""
        was_asked, self._is_asked = self._is_asked, True
        return was_asked


def rings(notifier: InotifyNotifier) -> set[Path] | None:
    """Return the paths reported so far; ``None`` if there are none or the queue overflowed."""
    notifier.interrupt()
    paths = notifier.wait(Asked())
    return None if paths is None else set(map(Path, paths))


def heard(notifier: InotifyNotifier, act: Callable[[], object]) -> set[Path]:
    """Return the paths that are reported during an action."""
    while rings(notifier) is not None:
        pass
    act()
    paths: set[Path] = set()
    while (more := rings(notifier)) is not None:
        paths |= more
    return paths


def test_a_save_rings_by_its_path(root: Path, listen: Listen) -> None:
    """A save is reported by its path, even in a subdirectory and with a name that is not UTF-8."""
    notifier = listen(root)
    file = root / "inner" / os.fsdecode(b"caf\xe9.py")
    assert heard(notifier, lambda: file.write_text("A = 1\n")) == {file}


def test_a_new_directory_is_watched_with_all_below_it(root: Path, listen: Listen) -> None:
    """The notifier watches a new tree, a tree that is moved, and a part of it that is moved out of it."""
    notifier = listen(root)
    heard(notifier, lambda: (root / "a" / "b" / "c").mkdir(parents=True))
    for before, after, place in (("a", "z", "z/b/c"), ("z/b", "b", "b/c"), ("b/c", "z/c", "z/c")):
        file = root / place / "x.py"
        heard(notifier, functools.partial((root / before).rename, root / after))
        assert heard(notifier, file.touch) == {file}
        file.unlink()


def test_a_single_file_is_heard_without_what_lies_beside_it(root: Path, listen: Listen) -> None:
    """Any way of saving it is reported; a new directory beside it, such as an environment, is not watched."""
    file, new = root / "single.py", root / "new"
    file.touch()
    notifier = listen(file)
    (root / "draft").touch()
    assert file in heard(notifier, lambda: (root / "draft").replace(file))
    assert file in heard(notifier, lambda: file.write_text("A = 1"))
    heard(notifier, new.mkdir)
    assert heard(notifier, (new / "x.py").touch) == set()
    assert heard(notifier, (root / "inner" / "x.py").touch) == set()
    notifier = listen(file, root)
    heard(notifier, (root / "late").mkdir)
    assert heard(notifier, (root / "late" / "x.py").touch) == {root / "late" / "x.py"}


def test_a_removed_directory_is_not_watched_any_more(root: Path, listen: Listen, tmp_path: Path) -> None:
    """A directory that is moved out of the tree is no longer watched."""
    notifier = listen(root)
    heard(notifier, lambda: (root / "inner").rename(tmp_path / "elsewhere"))
    assert heard(notifier, (tmp_path / "elsewhere" / "x.py").touch) == set()


def test_behind_a_link_it_listens_too_and_a_circle_ends(root: Path, listen: Listen, tmp_path: Path) -> None:
    """The notifier follows a link to a directory elsewhere, and stops at a circular link."""
    (tmp_path / "other").mkdir()
    (root / "link").symlink_to(tmp_path / "other")
    (root / "circle").symlink_to(root)
    notifier = listen(root)
    assert heard(notifier, (tmp_path / "other" / "x.py").touch) == {root / "link" / "x.py"}


def test_more_than_the_system_can_keep_is_said(root: Path, listen: Listen) -> None:
    """After a queue overflow, the notifier also watches directories whose creation was lost."""
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
    """A missing directory is refused, unless a partial notifier is requested."""
    gone, file = root / "gone", root / "x.py"
    with pytest.raises(FileNotFoundError, match="gone"):
        listen(gone)
    notifier = listen(gone, root, is_partial=True)
    assert heard(notifier, file.touch) == {file}


def test_a_directory_that_went_and_was_deleted_is_no_trouble(
    root: Path, listen: Listen, tmp_path: Path
) -> None:
    """A directory that is moved away and deleted before its event is read causes no error."""
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
    """The error names the limit, no descriptor stays open, and watchfiles is not tried instead."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    before = set(OPEN.iterdir())
    monkeypatch.setattr(call, refuse)
    with pytest.raises(OSError, match=limit):
        notifier_for("inotify")([str(root)], False)
    assert set(OPEN.iterdir()) == before


def test_a_wait_for_events_can_be_interrupted(root: Path, listen: Listen) -> None:
    """``interrupt`` makes a waiting notifier check whether it has ended."""
    notifier, ended = listen(root), threading.Event()
    listener = threading.Thread(target=notifier.wait, args=[ended])
    listener.start()
    ended.set()
    notifier.interrupt()
    listener.join(PATIENCE)
    assert not listener.is_alive()


def test_closing_releases_all_resources(root: Path) -> None:
    """Closing frees all descriptors, and a failed construction leaves none open."""
    before = set(OPEN.iterdir())
    notifier = InotifyNotifier([str(root)], False)
    assert set(OPEN.iterdir()) > before
    notifier.close()
    with pytest.raises(FileNotFoundError):
        InotifyNotifier([str(root / "gone")], False)
    assert set(OPEN.iterdir()) == before
