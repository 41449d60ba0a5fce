"""The console's only access to the manager: requests run in threads, and messages bring the results.

``FactReader`` collects events and reads the state again at most twenty times a second, in its own thread: a
manager that is busy, or at the other end of a socket, never freezes the screen. Each request runs in a daemon
thread and posts its result. Its method returns why the request makes no sense now, or an empty text.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from textual.message import Message

from hotload_tui.core.api import ManagerApi
from hotload_tui.core.errors import HotloadError, NoHostError, RuntimeDirError
from hotload_tui.core.events import AnyEvent, HostLost, HostReached, HostStalled
from hotload_tui.core.model import (
    HistoryEntry,
    LogLine,
    Plan,
    PluginDetail,
    PluginState,
    PluginStatus,
    Snapshot,
)
from hotload_tui.tui.calls import CallResult, HookCall, call_result
from hotload_tui.tui.text import clean_line, count, failing_file

READ_INTERVAL: Final = 0.05
"""Seconds between two reads."""

FIGURES_INTERVAL: Final = 1.0
"""Seconds without an event after which the state is read: no event reports the host's calls, or a fault again."""

_R = TypeVar("_R")

RETRY: Final = 0.5
"""Seconds between two attempts to subscribe to a host that is gone, or to repeat a failed read."""


class SourcePair(NamedTuple):
    """One file of a plugin, as loaded and as on disk; ``None`` for a text that cannot be read."""

    file: str
    loaded: str | None
    disk: str | None


class CloseUp(NamedTuple):
    """The details of the selected plugin; ``detail`` is ``None`` if it could not be read."""

    name: str
    detail: PluginDetail | None
    source: SourcePair
    history: tuple[HistoryEntry, ...] = ()


@dataclass
class FactsRead(Message):
    """The state was read again; ``events`` holds the events since the previous successful read."""

    snapshot: Snapshot
    closeup: CloseUp | None
    lines: tuple[LogLine, ...]
    """The new lines of the log."""
    events: tuple[AnyEvent, ...]


@dataclass
class FactsFailed(Message):
    """The state could not be read; ``reason`` is a text for the user."""

    reason: str


@dataclass
class StartEnded(Message):
    """The first scan has ended; ``trouble`` is empty if it succeeded."""

    trouble: str
    folder_missing: bool = False


@dataclass
class StopEnded(Message):
    """The plugins are unloaded as far as possible; ``trouble`` is empty if there was no error."""

    trouble: str


@dataclass
class CommandEnded(Message):
    """A command has ended."""

    text: str
    """The message to show; the reason if the command failed."""
    command: str = ""
    """The label of a command that failed."""
    failed: bool = False
    made: str = ""
    """The name of a plugin that the command created."""


@dataclass
class CallsEnded(Message):
    """The user's calls of hook points have ended, or (``reloaded``) pinned calls that ran again."""

    results: tuple[CallResult, ...]
    reloaded: bool


@dataclass
class PlanMade(Message):
    """The plan for a rebuild of ``plugin``, or of all that changed if ``plugin`` is ``None``."""

    plan: Plan
    plugin: PluginStatus | None


@dataclass
class Remark(Message):
    """A pane has a text for the user, mostly the reason why a key does nothing now."""

    text: str


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

    def _heard(self, event: AnyEvent) -> None:
        with self._lock:
            self._events.append(event)
            self._due.set()
        if isinstance(event, HostStalled):  # a read under way may wait for a long time
            self._send(FactsFailed(event.describe()))

    def _subscribe(self) -> None:
        """Subscribe to events; while the host is gone, try again every ``RETRY`` seconds."""
        while not self._stopped.is_set():
            try:
                self._unsubscribe = self._api.subscribe(self._heard)
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
                message, patience = self._read(name, events, has_news=has_news), FIGURES_INTERVAL
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
        """Read the state; return ``None`` if there is no news and the state is the one that was posted last."""
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
        closeup = self._closeup(snapshot.host.pid, status) if status else None
        if lines:
            self._last_line = lines[-1].number
        return FactsRead(snapshot, closeup, lines, events)

    def _closeup(self, pid: int, status: PluginStatus) -> CloseUp:
        name = status.name
        return CloseUp(name, self._detail(name), self._source(pid, status), self._history(name))

    def _history(self, name: str) -> tuple[HistoryEntry, ...]:
        try:
            return self._api.history(name)
        except HotloadError:  # as in _detail
            return ()

    def _detail(self, name: str) -> PluginDetail | None:
        try:
            return self._api.detail(name)
        except HotloadError:  # the plugin was removed between two reads; the next event reports it
            return None

    def _source(self, pid: int, status: PluginStatus) -> SourcePair:
        file = failing_file(status)
        wanted = (pid, status.name, file, status.generation)
        if wanted != self._loaded_key:  # the source of a loaded generation never changes
            self._loaded = self._text(status.name, file, status.generation) if status.generation else None
            self._loaded_key = wanted
        return SourcePair(file, self._loaded, self._text(status.name, file, None))

    def _text(self, name: str, file: str, generation: int | None) -> str | None:
        try:
            return self._api.source(name, file, generation)
        except HotloadError:
            return None


NOTHING_SELECTED = "No plugin is selected: the table is empty. n makes one."


def _nothing(_: object) -> str:
    """Say nothing: events report the result."""
    return ""


class Requests:
    """Sends commands to the manager."""

    def __init__(self, api: ManagerApi, post: Callable[[Message], bool]) -> None:
        self._api = api
        self._post = post
        self._lock = threading.Lock()
        self._running: set[str] = set()

    @property
    def running(self) -> tuple[str, ...]:
        """The labels of the commands under way, sorted."""
        with self._lock:
            return tuple(sorted(self._running))

    def start(self, start: Callable[[], None]) -> None:
        """Scan, load and watch in a thread; ``StartEnded`` reports the result."""

        def ended(error: BaseException | None) -> Message:
            trouble = reason_of(error) if error else ""
            return StartEnded(trouble, folder_missing=isinstance(error, RuntimeDirError))

        self._spawn("start", start, ended)

    def stop(self, stop: Callable[[], None]) -> None:
        """Stop watching and unload every plugin in a thread; ``StopEnded`` is posted even after an error."""
        self._spawn(
            "stop", stop, lambda error: StopEnded(f"while unloading: {reason_of(error)}" if error else "")
        )

    def _spawn(
        self, name: str, work: Callable[[], None], ended: Callable[[BaseException | None], Message]
    ) -> None:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # every error is shown; none ends the console
                self._tell(ended(error))
            else:
                self._tell(ended(None))

        threading.Thread(target=run, name=f"hotload-{name}", daemon=True).start()

    def rebuild(self, plugin: PluginStatus | None) -> str:
        """Compile and load one plugin again; events report the result."""
        if plugin is not None and plugin.state is PluginState.OFF:
            return f"{clean_line(plugin.name)} is off; d enables it."
        return self._request("rebuild", plugin, lambda name: self._api.rebuild(name, force=True))

    def rebuild_all(self) -> str:
        """Rebuild the plugins that changed or fail, or every plugin if there are none."""
        nothing = "There are no plugins to rebuild; n makes one."
        return self._command("rebuild all", self._api.rebuild, lambda rebuilt: "" if rebuilt else nothing)

    def plan(self, plugin: PluginStatus | None) -> str:
        """Request the plan for a rebuild of one plugin, or of all that changed; ``PlanMade`` carries it."""
        name = plugin.name if plugin else None
        return self._submit(f"plan {name or 'all'}", lambda: PlanMade(self._api.plan(name), plugin))

    def enable(self, plugin: PluginStatus | None) -> str:
        """Enable a plugin."""
        return self._request("enable", plugin, self._api.enable)

    def disable(self, plugin: PluginStatus | None) -> str:
        """Disable a plugin."""
        return self._request("disable", plugin, self._api.disable)

    def clean(self, plugin: PluginStatus | None) -> str:
        """Remove the artifacts of one plugin."""

        def removed(number: int) -> str:
            name = clean_line(plugin.name) if plugin else ""
            return f"{name}: {count(number, 'artifact')} removed; r builds it again, z brings it back"

        return self._request("clean", plugin, self._api.clean, removed)

    def clean_all(self) -> str:
        """Remove the artifacts of all plugins."""

        def removed(number: int) -> str:
            return f"{count(number, 'artifact')} removed; R builds all again, z brings them back"

        return self._command("clean all", self._api.clean, removed)

    def new(self, name: str) -> str:
        """Create a plugin from the template."""

        def work() -> CommandEnded:
            made = self._api.new(name)
            return CommandEnded(f"Made {clean_line(made.path)}; e opens it", made=made.name)

        return self._submit(f"new {name}", work)

    def rollback(self, name: str, generation: int) -> str:
        """Load an earlier generation again, as a new generation, and hold the plugin there."""

        def rolled_back(status: PluginStatus) -> str:
            return (
                f"{clean_line(name)}: generation {generation} is live again as generation"
                f" {status.generation}, held; h releases it"
            )

        return self._command(f"rollback {name}", lambda: self._api.rollback(name, generation), rolled_back)

    def release(self, plugin: PluginStatus | None) -> str:
        """Release a HELD plugin, so that it follows its source again."""
        if plugin is not None and not plugin.held:
            return f"{clean_line(plugin.name)} is not held: it follows its source."

        def released(status: PluginStatus) -> str:
            return f"{clean_line(status.name)} released: it follows its source again"

        return self._request("release", plugin, self._api.release, released)

    def pause(self) -> str:
        """Pause watching: collect saves until ``resume``."""
        return self._command(
            "pause", self._api.pause, lambda _: "Paused: what is saved is kept; p applies it"
        )

    def resume(self) -> str:
        """Apply the saves that were collected during the pause, and follow saves again."""

        def resumed(plugins: tuple[PluginStatus, ...]) -> str:
            what = count(len(plugins), "changed plugin") if plugins else "nothing had changed"
            return f"Watching again: {what}"

        return self._command("resume", self._api.resume, resumed)

    def undo(self) -> str:
        """Undo the last disable, enable or clean."""
        return self._command("undo", self._api.undo, lambda undone: f"Taken back: {clean_line(undone)}")

    def call(self, calls: tuple[HookCall, ...], now: Callable[[], float], *, reloaded: bool = False) -> str:
        """Call hook points one after the other; ``CallsEnded`` carries the results."""

        def one(call: HookCall) -> CallResult:
            positional, keywords, twice = call.arguments
            if twice:
                return CallResult(call, now(), trouble=f"{twice} is given twice; leave one of them out")
            try:
                return call_result(call, now(), self._api.invoke(call.point, *positional, **keywords))
            except BaseException as error:  # as in _run, every error is shown
                return CallResult(call, now(), trouble=reason_of(error))

        def work() -> CallsEnded:
            return CallsEnded(tuple(map(one, calls)), reloaded=reloaded)

        return self._submit(f"call {', '.join(map(str, calls))}", work)

    def _request(
        self,
        verb: str,
        plugin: PluginStatus | None,
        operation: Callable[[str], _R],
        said: Callable[[_R], str] = _nothing,
    ) -> str:
        """Run an operation on the selected plugin, if there is one."""
        if plugin is None:
            return NOTHING_SELECTED
        name = plugin.name
        return self._command(f"{verb} {name}", lambda: operation(name), said)

    def _command(self, label: str, operation: Callable[[], _R], said: Callable[[_R], str] = _nothing) -> str:
        """Run an operation; ``said`` turns its result into the words for the user."""
        return self._submit(label, lambda: CommandEnded(said(operation())))

    def _submit(self, label: str, work: Callable[[], Message]) -> str:
        with self._lock:
            if label in self._running:
                return f"Still busy: {clean_line(label)}"
            self._running.add(label)
        threading.Thread(target=self._run, args=(label, work), name=f"hotload-{label}", daemon=True).start()
        return ""

    def _run(self, label: str, work: Callable[[], Message]) -> None:
        try:
            message = work()
        except BaseException as error:  # every error is shown; no command ends silently
            message = CommandEnded(clean_line(reason_of(error)), command=clean_line(label), failed=True)
        finally:
            with self._lock:
                self._running.discard(label)
        self._tell(message)

    def _tell(self, message: Message) -> None:
        with contextlib.suppress(RuntimeError):  # the console's loop has ended
            self._post(message)
