"""A running watcher, and a record of its reports."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypedDict, Unpack

import pytest

from hotload_tui.core.config import NOTIFIERS, WatchConfig
from hotload_tui.core.source import Source, SourceRule
from hotload_tui.core.watch.notifier import MakeNotifier, Notifier, SilentNotifier, StopFlag, notifier_for
from hotload_tui.core.watch.scanner import PluginChange
from hotload_tui.core.watch.watcher import Watcher
from tests.conftest import Workspace, answering
from tests.waiting import PATIENCE, until

collect_ignore = [] if sys.platform == "linux" else ["test_inotify.py"]

_QUIET = 0.3  # seconds; longer than the second look at any change takes


class Listening:
    """A notifier that reports when it begins to listen."""

    def __init__(self, inner: Notifier, begun: Callable[[], object]) -> None:
        self._inner = inner
        self._begun: Callable[[], object] | None = begun
        self._ended: StopFlag = threading.Event()

    def wait(self, ended: StopFlag) -> Collection[str] | None:
        """Wait as the inner notifier does."""
        self._ended = ended
        return self._inner.wait(self)

    def is_set(self) -> bool:
        """Return whether the wait has ended; the first call reports that the notifier listens."""
        begun, self._begun = self._begun, None
        if begun is not None:
            begun()
        return self._ended.is_set()

    def interrupt(self) -> None:
        """Interrupt the inner notifier."""
        self._inner.interrupt()

    def close(self) -> None:
        """Close the inner notifier."""
        self._inner.close()


class Limited(SilentNotifier):
    """A notifier that the system refuses, with the error text of notify; a partial one never reports."""

    def __init__(self, directories: Sequence[str], is_partial: bool) -> None:  # noqa: FBT001 - see MakeNotifier
        if not is_partial:
            raise OSError("OS file watch limit reached. about [...]")
        super().__init__(directories, is_partial)


class Settings(TypedDict, total=False):
    """Settings of a watcher; defaults are a user's, except for a sweep that finds nothing in time.

    If only the sweep finds changes, it is fast.
    """

    settle_time: float
    debounce_time: float
    sweep_interval: float | None
    ignore: Sequence[str]
    notifier: str
    make_notifier: MakeNotifier
    are_files_fresh: bool
    """Whether the files were written just now; a user's are usually older than the watcher's "recent"."""
    broken: Collection[bytes]
    """File contents that fail to load: a plugin with such a file is reported again."""


class Heard:
    """A running watcher, and a record of its reports."""

    def __init__(self, root: Path, **settings: Unpack[Settings]) -> None:
        self.names: set[str] = set()
        self.changes: list[PluginChange] = []
        self.calls: list[Sequence[PluginChange]] = []
        self.served: dict[str, Source] = {}
        self.statuses: list[str] = []
        self.hung = threading.Semaphore(0)
        self._ticks = 0
        self._told_at = time.monotonic()
        notifier = settings.get("notifier", WatchConfig().notifier)
        self._new_notifier = settings.get("make_notifier", notifier_for(notifier))
        self._broken = set(settings.get("broken", ()))
        self._told = threading.Condition()
        self.watcher = Watcher(
            root,
            self._hear,
            on_status=self._note,
            on_tick=self._tick,
            settle_time=settings.get("settle_time", 0.002),
            debounce_time=settings.get("debounce_time", 2.0),
            sweep_interval=settings.get("sweep_interval") or (0.1 if notifier == "sweep" else 3600.0),
            rule=SourceRule(settings.get("ignore", ())),
            make_notifier=self._make_notifier,
        )

    def _make_notifier(self, directories: Sequence[str], is_partial: bool) -> Notifier:  # noqa: FBT001 - see MakeNotifier
        return Listening(self._new_notifier(directories, is_partial), self.hung.release)

    def _hear(self, changes: Sequence[PluginChange]) -> Collection[str]:
        again = set()
        with self._told:
            self._told_at, self._ticks = time.monotonic(), 0
            self.calls.append(changes)
            self.changes += changes
            for change in changes:
                self.names.add(change.name)
                if change.source is None:
                    self.served.pop(change.name, None)
                else:
                    self.served[change.name] = change.source
                    is_broken = any(file.content in self._broken for file in change.source.files)
                    if is_broken and not change.is_settled:
                        again.add(change.name)
            self._told.notify_all()
        return again

    def _note(self) -> None:
        with self._told:
            self.statuses.append(self.watcher.status().trouble)
            self._told.notify_all()

    def _tick(self) -> None:
        self._ticks += 1

    def wait_for(self, is_so: Callable[[], bool]) -> bool:
        """Wait until ``is_so``, and check it again after each report."""
        with self._told:
            return self._told.wait_for(is_so, PATIENCE)

    def content(self, name: str, file: str = "plugin.py") -> str | None:
        """Return a file's content as last reported for a plugin."""
        source = self.served.get(name)
        found = next((each for each in source.files if each.path == file), None) if source else None
        return None if found is None else found.content.decode()

    def wait_for_quiet(self) -> None:
        """Wait until the watcher has reported nothing for longer than it delays any report."""
        self._told_at, self._ticks = time.monotonic(), 0
        until(lambda: self._ticks > 1 and time.monotonic() - self._told_at > _QUIET)

    def begin(self) -> None:
        """Start the watcher, and wait until it listens or its status is degraded."""
        self.watcher.start()
        until(lambda: self.hung.acquire(blocking=False) or self.watcher.status().state == "degraded")


def age(root: Path) -> None:
    """Make all files below ``root`` an hour old."""
    then = time.time() - 3600
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.utime(path, (then, then))


class Watch(Protocol):
    """Start a watcher on the workspace."""

    def __call__(self, **settings: Unpack[Settings]) -> Heard:
        """Return the watcher once it listens."""
        ...


@pytest.fixture(params=[name for name in NOTIFIERS if name != "inotify" or sys.platform == "linux"])
def notifier(request: pytest.FixtureRequest) -> str:
    """Return each notifier that this system supports, one after the other."""
    return str(request.param)


@pytest.fixture
def watch(workspace: Workspace) -> Iterator[Watch]:
    """Yield a function that starts a watcher on a workspace with two plugins, and stop the watchers."""
    started: list[Heard] = []
    workspace["greet"] = answering("one")
    workspace["other"] = answering("other")

    def begin(**settings: Unpack[Settings]) -> Heard:
        if not settings.get("are_files_fresh", False):
            age(workspace.plugins)
        heard = Heard(workspace.plugins, **settings)
        started.append(heard)
        heard.begin()
        return heard

    yield begin
    for heard in started:
        heard.watcher.stop()
