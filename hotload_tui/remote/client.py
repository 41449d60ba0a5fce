"""``RemoteManager``: the manager of another process, through its socket."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from hotload_tui.core.errors import HotloadError, NoHostError, ProtocolError, UsageError
from hotload_tui.core.events import EventBus, Subscriber
from hotload_tui.core.plan import Plan
from hotload_tui.core.plugin import (
    HistoryEntry,
    Invocation,
    LogLine,
    PluginDetail,
    PluginStatus,
    Snapshot,
    WatcherStatus,
)
from hotload_tui.remote import frames, protocol, questions
from hotload_tui.remote.address import born, successor_of
from hotload_tui.remote.listener import Listener
from hotload_tui.remote.peer import check_peer

_T = TypeVar("_T")

_TIMEOUT: Final = 10.0  # seconds for an answer that is only looked up
_WORK_TIMEOUT: Final = 120.0  # seconds for an answer that takes a build, a load or a call
_CATCH_UP: Final = 2.0  # seconds that a command which is done may wait for its events to be heard


class RemoteManager:
    """``ManagerApi``, answered by the host at ``path``.

    Every method may raise what the manager raises there, and ``NoHostError``. All are safe to call from
    any thread: each request in work has a connection of its own, and idle ones are used again.
    """

    def __init__(self, path: Path, *, timeout: float = _TIMEOUT, work_timeout: float = _WORK_TIMEOUT) -> None:
        """Connect; the two limits are in seconds, for questions and for commands.

        Raises:
            NoHostError: nobody answers there.
            ProtocolError: the host is of another version.
            RefusedError: the host belongs to another user.

        """
        self._path = path
        self._timeout = timeout
        self._work_timeout = work_timeout
        self._lock = threading.Lock()
        self._closed = False
        self._bus = EventBus()
        self._listening = threading.Lock()
        self._listener: Listener | None = None
        self._made = born(path)
        self._idle = [self._connect()]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; requests in work fail or finish."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        with self._listening:
            listener = self._listener
        if listener is not None:
            listener.close()

    def snapshot(self) -> Snapshot:
        """Return the whole state at this moment."""
        return self._look_up(questions.GetSnapshot(), Snapshot)

    def subscribe(self, subscriber: Subscriber, /) -> Callable[[], None]:
        """Hear every event from now on, in a thread of this object's; returns the undo.

        A host that goes away is an event (``HostLost``), and so is the one that takes its place
        (``HostReached``), which answers from then on; and those that were missed (``EventsMissed``).
        """
        with self._listening:
            if self._listener is None:
                self._listener = Listener(self._find, self._bus.publish, self._timeout)
        return self._bus.subscribe(subscriber)

    def detail(self, name: str) -> PluginDetail:
        """Return everything known about one plugin."""
        return self._look_up(questions.GetDetail(name), PluginDetail)

    def source(self, name: str, file: str, generation: int | None = None) -> str:
        """Return one file's text: as loaded by the serving ``generation``, or (``None``) as on disk."""
        return self._look_up(questions.GetSource(name, file, generation), str)

    def log(self, since: int = 0) -> tuple[LogLine, ...]:
        """Return the kept log lines with a number greater than ``since``."""
        return self._look_up(questions.GetLog(since), tuple[LogLine, ...])

    def history(self, name: str) -> tuple[HistoryEntry, ...]:
        """Return what happened to a plugin in its host, the oldest first."""
        return self._look_up(questions.GetHistory(name), tuple[HistoryEntry, ...])

    def plan(self, name: str | None = None) -> Plan:
        """Return what ``rebuild`` would do now."""
        return self._command(questions.GetPlan(name), Plan)

    def rollback(self, name: str, generation: int) -> PluginStatus:
        """Let an earlier generation serve again, and hold the plugin there."""
        return self._command(questions.Rollback(name, generation), PluginStatus)

    def release(self, name: str) -> PluginStatus:
        """Let a HELD plugin follow its source again."""
        return self._command(questions.Release(name), PluginStatus)

    def rebuild(self, name: str | None = None, *, force: bool = False) -> tuple[PluginStatus, ...]:
        """Build and load one plugin, or all that changed."""
        return self._command(questions.Rebuild(name, force), tuple[PluginStatus, ...])

    def enable(self, name: str) -> PluginStatus:
        """Switch a plugin on."""
        return self._command(questions.Enable(name), PluginStatus)

    def disable(self, name: str) -> PluginStatus:
        """Switch a plugin off."""
        return self._command(questions.Disable(name), PluginStatus)

    def clean(self, name: str | None = None) -> int:
        """Remove the artifacts of one plugin, or of all; returns their number."""
        return self._command(questions.Clean(name), int)

    def undo(self) -> str:
        """Take back the last enable, disable or clean, and return what that was."""
        return self._command(questions.Undo(), str)

    def new(self, name: str, template: str = "simple") -> PluginStatus:
        """Make a plugin from a template."""
        return self._command(questions.New(name, template), PluginStatus)

    def pause(self) -> WatcherStatus:
        """Keep what is saved from now on until ``resume``."""
        return self._command(questions.Pause(), WatcherStatus)

    def resume(self) -> tuple[PluginStatus, ...]:
        """Bring what changed since ``pause`` up to date, and follow saves again."""
        return self._command(questions.Resume(), tuple[PluginStatus, ...])

    def invoke(self, point: str, /, *args: object, **kwargs: object) -> Invocation:
        """Call a hook point once; the arguments must be JSON values."""
        return self._command(questions.Invoke(point, args, kwargs), Invocation)

    def _look_up(self, question: questions.Question, expected: type[_T]) -> _T:
        return frames.decode(self._ask(question, self._timeout).result, expected)

    def _command(self, command: questions.Question, expected: type[_T]) -> _T:
        """Give a command; when it returns, subscribers have heard what it did, as beside the manager."""
        done = self._ask(command, self._work_timeout)
        if self._listener is not None:
            self._listener.wait_for(done.after, _CATCH_UP)
        return frames.decode(done.result, expected)

    def _ask(self, question: questions.Question, timeout: float) -> protocol.Done:
        trouble = self._listener.trouble if self._listener is not None else ""  # once: it may end meanwhile
        if trouble:
            raise NoHostError(trouble)
        try:
            payload = frames.encode(question)
        except (TypeError, RecursionError) as error:
            raise UsageError(f"an argument cannot be sent to the host: {error}") from error
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connect()
        try:
            reply = self._exchange(connection, payload, timeout)
        except BaseException:  # whatever comes later on this connection would answer the wrong question
            connection.close()
            raise
        self._keep(connection)
        if isinstance(reply, protocol.Failed):
            raise protocol.error_of(reply)
        if isinstance(reply, protocol.Welcome):
            raise ProtocolError(f"{self._path}: the host greets instead of answering")
        return reply

    def _keep(self, connection: socket.socket) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _find(self) -> socket.socket:
        """Connect to the host, or to the one that took its place."""
        path = successor_of(self._path, self._made)
        if path is None:
            raise NoHostError(f"{self._path}: no host answers")
        made = born(path)
        with self._lock:
            self._path, self._made = path, made
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        return self._connect()

    def _connect(self) -> socket.socket:
        if not hasattr(socket, "AF_UNIX"):
            raise NoHostError(
                f"{self._path}: this system has no Unix sockets, through which hosts are reached"
            )
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self._timeout)
            connection.connect(os.fspath(self._path))
            check_peer(connection)
            hello = frames.encode(protocol.Hello(protocol.VERSION))
            reply = self._exchange(connection, hello, self._timeout)
            if isinstance(reply, protocol.Failed):
                raise protocol.error_of(reply)
            if not isinstance(reply, protocol.Welcome):
                raise ProtocolError(f"{self._path}: the host does not greet")
        except HotloadError:
            connection.close()
            raise
        except OSError as error:
            connection.close()
            raise NoHostError(f"{self._path}: no host answers: {error.strerror or error}") from error
        return connection

    def _exchange(self, connection: socket.socket, payload: bytes, timeout: float) -> protocol.Reply:
        try:
            frames.send(connection, payload)
            answer = frames.receive(connection, timeout)
        except TimeoutError as error:
            raise NoHostError(
                f"{self._path}: the host did not answer within {timeout:g} s; it is busy, or a plugin hangs"
            ) from error
        except OSError as error:
            raise NoHostError(f"{self._path}: the host hung up: {error.strerror or error}") from error
        if answer is None:
            raise NoHostError(f"{self._path}: the host hung up; it may have ended")
        return protocol.reply_of(answer)
