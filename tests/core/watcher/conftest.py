"""A running watcher, and what it told."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypedDict, Unpack

import pytest

from hotload_tui.core.source import Source, SourceRule
from hotload_tui.core.watcher import Bell, Change, Hang, Watcher
from hotload_tui.core.watcher.bell import Ended, system_bell
from hotload_tui.core.watcher.dispatcher import Dispatcher
from tests.conftest import Workspace, answering
from tests.waiting import PATIENCE

collect_ignore = [] if sys.platform == "linux" else ["test_inotify.py"]

_STEP = 0.001  # seconds between two looks whether the end has come


class Deaf:
    """A bell that never rings."""

    def __init__(self, _directories: Sequence[str], _is_partial: bool) -> None:  # noqa: FBT001 - see Hang
        self._never = threading.Event()

    def wait(self, ended: Ended) -> Collection[str] | None:
        """Wait for the end."""
        while not ended.is_set():
            self._never.wait(_STEP)
        return None

    def interrupt(self) -> None:
        """Do nothing: it asks all the time."""


class Limited(Deaf):
    """A bell that the system refuses, as notify says it; what it lets be heard rings never."""

    def __init__(self, directories: Sequence[str], is_partial: bool) -> None:  # noqa: FBT001 - see Hang
        if not is_partial:
            raise OSError("OS file watch limit reached. about [...]")
        super().__init__(directories, is_partial)


class Settings(TypedDict, total=False):
    """What a test may set; the rest is as a user has it, but for a sweep that is out of the way."""

    settle_time: float
    debounce_time: float
    sweep_interval: float
    ignore: Sequence[str]
    hang: Hang
    broken: Collection[bytes]
    """Contents that fail to load: a plugin with one is asked for again."""


class Heard:
    """A running watcher, and what it told."""

    def __init__(self, root: Path, **settings: Unpack[Settings]) -> None:
        self.names: set[str] = set()
        self.changes: list[Change] = []
        self.calls: list[Sequence[Change]] = []
        self.served: dict[str, Source] = {}
        self.statuses: list[str] = []
        self.hung = threading.Semaphore(0)
        self._bell = settings.get("hang", system_bell)
        self._broken = set(settings.get("broken", ()))
        self._told = threading.Condition()
        self.watcher = Watcher(
            root,
            self._hear,
            on_status=self._note,
            settle_time=settings.get("settle_time", 0.002),
            debounce_time=settings.get("debounce_time", 2.0),
            sweep_interval=settings.get("sweep_interval", 60.0),
            rule=SourceRule(settings.get("ignore", ())),
            hang=self._hang,
        )

    def _hang(self, directories: Sequence[str], is_partial: bool) -> Bell:  # noqa: FBT001 - see Hang
        bell = self._bell(directories, is_partial)
        self.hung.release()
        return bell

    def _hear(self, changes: Sequence[Change]) -> Collection[str]:
        again = set()
        with self._told:
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

    def wait_for(self, is_so: Callable[[], bool]) -> bool:
        """Wait until ``is_so``, looking again whenever something is told."""
        with self._told:
            return self._told.wait_for(is_so, PATIENCE)

    def content(self, name: str, file: str = "plugin.py") -> str | None:
        """Return a file of what was told last of a plugin."""
        source = self.served.get(name)
        found = next((each for each in source.files if each.path == file), None) if source else None
        return None if found is None else found.content.decode()

    def wait_for_quiet(self) -> None:
        """Wait until nothing is left to be looked at."""
        self._poll(lambda dispatcher: dispatcher._pace.next_due() is None)

    def wait_until_held(self, name: str) -> None:
        """Wait until a plugin waits for git."""
        self._poll(lambda dispatcher: name in dispatcher._held)

    def _poll(self, is_so: Callable[[Dispatcher], bool]) -> None:
        threads = self.watcher._threads
        assert threads is not None
        tick = threading.Event()
        until = time.monotonic() + PATIENCE
        while not is_so(threads._dispatcher):
            assert time.monotonic() < until
            tick.wait(0.01)

    def begin(self) -> None:
        """Start, and wait until the bell hangs: then every save rings."""
        self.watcher.start()
        assert self.hung.acquire(timeout=PATIENCE)


class Watch(Protocol):
    """Starts a watcher on the workspace."""

    def __call__(self, **settings: Unpack[Settings]) -> Heard:
        """Give it once it listens."""
        ...


@pytest.fixture
def watch(workspace: Workspace) -> Iterator[Watch]:
    """Give a function that starts a watcher on the workspace with two plugins, and stop it afterwards."""
    started: list[Heard] = []
    workspace["greet"] = answering("one")
    workspace["other"] = answering("other")

    def begin(**settings: Unpack[Settings]) -> Heard:
        heard = Heard(workspace.plugins, **settings)
        started.append(heard)
        heard.begin()
        return heard

    yield begin
    for heard in started:
        heard.watcher.stop()
