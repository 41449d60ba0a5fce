"""The console's threads: they read the manager's state and run commands for the screen.

A manager that is busy, or at the other end of a socket, never freezes the screen. ``FactReader`` collects
events and reads the state again at most twenty times a second, in its own thread. Each command runs in a
daemon thread.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, TypeVar

from textual.message import Message

from hotload_tui.core.api import ManagerApi
from hotload_tui.core.errors import HotloadError, NoHostError
from hotload_tui.core.events import AnyEvent, HostLost, HostReached, HostStalled
from hotload_tui.core.model import HistoryEntry, LogLine, PluginDetail, PluginStatus, Snapshot
from hotload_tui.tui.chain import failing_file
from hotload_tui.tui.text import clean_line

READ_INTERVAL: Final = 0.05
"""Seconds between two reads."""

WORK_INTERVAL: Final = 0.25
"""The same while the host compiles or loads plugins: no event reports each step."""

FIGURES_INTERVAL: Final = 1.0
"""Seconds after which the state is read without an event: none reports the host's calls, or a fault again."""

_R = TypeVar("_R")

RETRY: Final = 0.5
"""Seconds between two attempts to subscribe to a host that is gone, or to repeat a failed read."""


class SourcePair(NamedTuple):
    """One file of a plugin, as loaded and as on disk; ``None`` for a text that cannot be read."""

    file: str
    loaded: str | None
    disk: str | None


class CloseUp(NamedTuple):
    """The details of the selected plugin as far as they could be read; empty until they have been read."""

    name: str = ""
    detail: PluginDetail | None = None
    source: SourcePair | None = None
    history: tuple[HistoryEntry, ...] = ()


@dataclass
class FactsRead(Message):
    """The state was read again; ``events`` holds the events since the previous successful read."""

    snapshot: Snapshot
    closeup: CloseUp
    lines: tuple[LogLine, ...]
    """The new lines of the log."""
    events: tuple[AnyEvent, ...]


@dataclass
class FactsFailed(Message):
    """The state could not be read; ``reason`` is a text for the user."""

    reason: str


def reason_of(error: BaseException) -> str:
    """Return the text to show for an error: a ``HotloadError``'s own text, else the type and the text."""
    return str(error) if isinstance(error, HotloadError) else f"{type(error).__name__}: {error}"


class FactReader:
    """Reads the state after events, and at least once a second, and posts it as a message if it is news."""

    def __init__(self, api: ManagerApi, post: Callable[[Message], bool]) -> None:
        self._api = api
        self._post = post
        self._lock = threading.Lock()
        self._due = threading.Event()
        self._stopped = threading.Event()
        self._events: list[AnyEvent] = []
        self._name = ""
        self._lost = 0
        self._last_line = 0
        self._posted: Snapshot | None = None
        self._loaded_key = (0, "", "", 0)
        self._loaded: str | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="hotload-facts", daemon=True)

    def start(self) -> None:
        """Start the thread, which subscribes to events and reads the state for the first time."""
        self._due.set()
        self._thread.start()

    def stop(self) -> None:
        """End the thread; wait at most one second for a read under way."""
        self._stopped.set()
        self._due.set()
        self._thread.join(timeout=1)
        self._unsubscribe()

    def look_at(self, name: str) -> None:
        """Read the details of this plugin from now on."""
        with self._lock:
            self._name = name
            self._due.set()

    def _collect(self, event: AnyEvent) -> None:
        with self._lock:
            self._events.append(event)
            self._due.set()
        if isinstance(event, HostStalled):  # a read under way may wait for a long time
            self._send(FactsFailed(event.describe()))

    def _subscribe(self) -> None:
        """Subscribe to events; while the host is gone, try again every ``RETRY`` seconds."""
        while not self._stopped.is_set():
            try:
                self._unsubscribe = self._api.subscribe(self._collect)
            except Exception as error:  # as in _run, every error is shown
                self._send(FactsFailed(reason_of(error)))
                self._stopped.wait(RETRY)
            else:
                return

    def _run(self) -> None:
        self._subscribe()
        patience = None
        while True:
            self._due.wait(patience)
            if self._stopped.is_set():
                return
            with self._lock:
                has_news = self._due.is_set()
                self._due.clear()
                name, events = self._name, tuple(self._events)
                self._events.clear()
            try:
                message = self._read(name, events, has_news=has_news)
                patience = WORK_INTERVAL if self._posted and self._posted.work else FIGURES_INTERVAL
            except Exception as error:  # every error of the manager is shown; none ends the thread
                message, self._posted = FactsFailed(reason_of(error)), None
                with self._lock:
                    self._events[:0] = events  # for the next successful read
                # An event reports the return of a host; repeated reads would not help a host that hangs.
                patience = None if isinstance(error, NoHostError) else RETRY
            if message is not None:
                self._send(message)
            self._stopped.wait(READ_INTERVAL)

    def _send(self, message: Message) -> None:
        with contextlib.suppress(RuntimeError):  # the console's loop has ended
            self._post(message)

    def _read(self, name: str, events: tuple[AnyEvent, ...], *, has_news: bool) -> Message | None:
        """Read the state; return ``None`` if there is no news, and the state is as it was posted last."""
        for event in events:
            if isinstance(event, HostLost):
                self._lost = event.pid
            elif isinstance(event, HostReached) and event.pid != self._lost:
                self._last_line = 0  # another host numbers its lines from 1 again
        snapshot = self._api.snapshot()
        if not has_news and snapshot == self._posted:
            return None
        self._posted = snapshot
        lines = self._api.log(since=self._last_line)
        status = next((plugin for plugin in snapshot.plugins if plugin.name == name), None)
        closeup = self._closeup(snapshot.host.pid, status) if status else CloseUp()
        if lines:
            self._last_line = lines[-1].number
        return FactsRead(snapshot, closeup, lines, events)

    def _closeup(self, pid: int, status: PluginStatus) -> CloseUp:
        name = status.name
        detail = _found(lambda: self._api.detail(name))
        return CloseUp(name, detail, self._source(pid, status), _found(lambda: self._api.history(name)) or ())

    def _source(self, pid: int, status: PluginStatus) -> SourcePair:
        name, file = status.name, failing_file(status)
        generation = status.generation or None
        wanted = (pid, name, file, status.generation)
        if wanted != self._loaded_key:  # the source of a loaded generation never changes
            self._loaded = _found(lambda: self._api.source(name, file, generation)) if generation else None
            self._loaded_key = wanted
        return SourcePair(file, self._loaded, _found(lambda: self._api.source(name, file)))


def _found(read: Callable[[], _R]) -> _R | None:
    try:
        return read()
    except HotloadError:  # the plugin was removed between two reads; the next event reports it
        return None


class Requests:
    """Runs work in daemon threads, and passes the results to functions in the screen's thread."""

    def __init__(
        self,
        call_later: Callable[[Callable[[], None]], object],
        fail: Callable[[str, str], None],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """``call_later`` calls a function in the screen's thread; ``fail`` shows why a command failed.

        ``changed`` is called in the screen's thread when a command begins or has ended.
        """
        self._call_later = call_later
        self._fail = fail
        self._changed = changed
        self._lock = threading.Lock()
        self._running: set[str] = set()

    @property
    def running(self) -> tuple[str, ...]:
        """The labels of the commands under way, sorted."""
        with self._lock:
            return tuple(sorted(self._running))

    def submit(self, label: str, work: Callable[[], _R], then: Callable[[_R], None]) -> str:
        """Run a command, and pass its result to ``then``.

        Returns:
            The reason if a command with the same label is under way; else an empty text.

        """
        with self._lock:
            if label in self._running:
                return f"Still busy: {clean_line(label)}"
            self._running.add(label)

        def run() -> Callable[[], None]:
            try:
                show = partial(then, work())
            except BaseException as error:  # every error is shown; no command ends silently
                show = partial(self._fail, clean_line(label), clean_line(reason_of(error)))
            with self._lock:
                self._running.discard(label)
            return partial(self._end, show)

        self._changed()
        self._spawn(label, run)
        return ""

    def _end(self, show: Callable[[], None]) -> None:
        self._changed()
        show()

    def attempt(
        self, name: str, work: Callable[[], None], then: Callable[[BaseException | None], None]
    ) -> None:
        """Run ``work``, and pass its error, or ``None``, to ``then``."""

        def run() -> Callable[[], None]:
            try:
                work()
            except BaseException as error:  # every error is shown; none crashes the console
                return partial(then, error)
            return partial(then, None)

        self._spawn(name, run)

    def _spawn(self, name: str, run: Callable[[], Callable[[], None]]) -> None:
        def work() -> None:
            then = run()
            with contextlib.suppress(RuntimeError):  # the console's loop has ended
                self._call_later(then)

        threading.Thread(target=work, name=f"hotload-{name}", daemon=True).start()
