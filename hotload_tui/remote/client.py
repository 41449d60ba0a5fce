"""``RemoteManager``: access to the manager of another process through its socket."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from hotload_tui.core.api import Call, Forwarder
from hotload_tui.core.errors import HotloadError, NoHostError, ProtocolError, UsageError
from hotload_tui.core.events import (
    AnyEvent,
    EventBus,
    EventsMissed,
    HostLost,
    HostReached,
    HostResumed,
    HostStalled,
    Subscriber,
)
from hotload_tui.remote import wire
from hotload_tui.remote.address import born, check_peer, successor_of

SILENCE: Final = 3 * wire.BEAT
"""Seconds without a message after which the host counts as stalled."""

_RETRY: Final = 0.25  # seconds between two attempts to find the host again
_JOIN_TIMEOUT: Final = 1.0  # seconds


class Listener:
    """A thread that publishes the host's events, and events about the host itself (such as ``HostLost``)."""

    def __init__(
        self,
        connect: Callable[[], socket.socket],
        publish: Callable[[AnyEvent], None],
        timeout: float,
    ) -> None:
        """Connect to the host, receive its state, and start the thread.

        ``connect`` is called again whenever the host is lost; it raises ``HotloadError`` if there is no host.
        ``timeout`` limits the wait for the first state, in seconds.
        """
        self._connect = connect
        self._publish = publish
        self._timeout = timeout
        self._closed = threading.Event()
        self._advanced = threading.Condition()
        self._number = 0
        self._pid = 0
        self._connection = connect()
        self.trouble = ""
        """Reason why no host is connected; empty while a host is connected."""
        try:
            self._begin(self._connection)
        except HotloadError:
            self._connection.close()
            raise
        self._thread = threading.Thread(target=self._run, name="hotload-events", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the connection and end the thread."""
        self._closed.set()
        with contextlib.suppress(OSError):  # the host may have closed it already
            self._connection.shutdown(socket.SHUT_RDWR)
        with self._advanced:
            self._advanced.notify_all()
        if self._thread is not threading.current_thread():  # a subscriber may close the listener
            self._thread.join(_JOIN_TIMEOUT)

    def wait_for(self, number: int, seconds: float) -> None:
        """Wait until event ``number`` is published here, so that a command returns after its events.

        Wait at most ``seconds``. Return at once in the publishing thread or without a host.
        """
        if self._thread is threading.current_thread():
            return
        with self._advanced:
            self._advanced.wait_for(
                lambda: self._number >= number or bool(self.trouble) or self._closed.is_set(), seconds
            )

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                reason = self._publish_all()
            except (HotloadError, OSError) as error:
                reason = str(error)
            self._connection.close()
            if not self._closed.is_set():
                self._lose(reason)
                self._find()
        self._connection.close()

    def _begin(self, connection: socket.socket) -> None:
        """Subscribe to the host's events, and receive the state that the host sends first."""
        try:
            wire.send(connection, wire.encode(wire.Listen()))
            news = _next(connection, self._timeout)
        except OSError as error:
            raise NoHostError(f"the host did not send its state: {error}") from error
        if isinstance(news, wire.Failed):
            raise wire.error_of(news)
        if not isinstance(news, wire.State):
            raise ProtocolError("the host did not send its state first")
        self._pid = news.snapshot.host.pid
        self._advance(news.after)

    def _publish_all(self) -> str:
        """Publish events until the connection ends; return the reason for its end."""
        while True:
            news = self._next()
            match news:
                case wire.Events():
                    for event in news.events:
                        self._publish(event)
                    self._advance(news.first + len(news.events) - 1)
                case wire.State():
                    self._publish(EventsMissed(time.time(), news.after - self._number))
                    self._advance(news.after)
                case wire.Failed():
                    raise wire.error_of(news)
                case wire.Farewell():
                    return "it has ended, or has closed its socket"
                case wire.Beat():
                    pass
                case None:
                    return "it ended unexpectedly"

    def _next(self) -> wire.News | None:
        try:
            return _next(self._connection, SILENCE)
        except TimeoutError:
            self._publish(HostStalled(time.time(), self._pid, SILENCE))
        news = _next(self._connection, None)
        if news is not None:
            self._publish(HostResumed(time.time(), self._pid))
        return news

    def _lose(self, reason: str) -> None:
        event = HostLost(time.time(), self._pid, reason)
        with self._advanced:
            self.trouble = event.describe()
            self._advanced.notify_all()
        self._publish(event)

    def _find(self) -> None:
        """Try to connect until a host answers; publish each new ``ProtocolError`` once."""
        reported = ""
        while not self._closed.wait(_RETRY):
            try:
                connection = self._connect()
            except HotloadError as error:
                if isinstance(error, ProtocolError) and str(error) != reported:
                    reported = str(error)
                    self._lose(reported)
                continue
            self._number = 0  # a new host numbers its events from the start
            try:
                self._begin(connection)
            except HotloadError:
                connection.close()
                continue
            self._connection = connection
            self.trouble = ""
            self._publish(HostReached(time.time(), self._pid))
            return

    def _advance(self, number: int) -> None:
        with self._advanced:
            self._number = number
            self._advanced.notify_all()


def _next(connection: socket.socket, wait: float | None) -> wire.News | None:
    payload = wire.receive(connection, wait)
    return None if payload is None else wire.decode(payload, wire.NEWS)


def _is_closed(connection: socket.socket) -> bool:
    """Return whether the host has closed an idle connection, to make room for others."""
    connection.settimeout(0)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


_T = TypeVar("_T")

_TIMEOUT: Final = 10.0  # seconds for the answer to a query
_WORK_TIMEOUT: Final = 120.0  # seconds for an answer that needs a build, a load or a call
QUERIES: Final = frozenset({"snapshot", "detail", "source", "log", "history"})
"""Operations that a host answers at once; all others may take as long as a build."""

_CATCH_UP: Final = 2.0  # seconds that a finished command waits until its events are published here


class RemoteManager(Forwarder):
    """``ManagerApi`` of the host at ``path``.

    Every method may raise the errors of the host's manager, and ``NoHostError``. All methods are safe to call
    from any thread: each concurrent request has a separate connection, and idle connections are reused.
    """

    def __init__(self, path: Path, *, timeout: float = _TIMEOUT, work_timeout: float = _WORK_TIMEOUT) -> None:
        """Connect to the host.

        ``timeout`` limits queries, ``work_timeout`` limits commands and ``plan``; both are in seconds.

        Raises:
            NoHostError: no host answers at ``path``.
            ProtocolError: the host uses another version of the protocol.
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
        """Close all connections; a request in progress still finishes or fails."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        with self._listening:
            listener = self._listener
        if listener is not None:
            listener.close()

    def subscribe(self, subscriber: Subscriber, /) -> Callable[[], None]:
        """Call ``subscriber`` with every later event, in the listener's thread; return the undo function.

        The end of the host is published as ``HostLost``, and skipped events as ``EventsMissed``.
        ``HostReached`` reports the host that replaces the lost one and answers from then on.
        """
        with self._listening:
            if self._listener is None:
                self._listener = Listener(self._find, self._bus.publish, self._timeout)
        return self._bus.subscribe(subscriber)

    def forward(self, call: Call, expected: type[_T]) -> _T:
        """Have the host carry out a call; the arguments must be JSON values.

        A command returns once subscribers here have its events, or after ``_CATCH_UP``.
        """
        if call.operation in QUERIES:
            return wire.decode(self._ask(call, self._timeout).result, expected)
        done = self._ask(call, self._work_timeout)
        if self._listener is not None:
            self._listener.wait_for(done.after, _CATCH_UP)
        return wire.decode(done.result, expected)

    def _ask(self, call: Call, timeout: float) -> wire.Done:
        trouble = self._listener.trouble if self._listener is not None else ""  # once: another thread sets it
        if trouble:
            raise NoHostError(trouble)
        try:
            payload = wire.encode(call)
        except (TypeError, RecursionError) as error:
            raise UsageError(f"an argument cannot be sent to the host: {error}") from error
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None and _is_closed(connection):
            connection.close()
            connection = None
        connection = connection or self._connect()
        try:
            reply = self._exchange(connection, payload, timeout)
        except BaseException:  # a late answer on this connection would be taken for the next one
            connection.close()
            raise
        self._keep(connection)
        if isinstance(reply, wire.Failed):
            raise wire.error_of(reply)
        if isinstance(reply, wire.Welcome):
            raise ProtocolError(f"{self._path}: the host sent a greeting instead of an answer")
        return reply

    def _keep(self, connection: socket.socket) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _find(self) -> socket.socket:
        """Connect to the host, or to the host that replaced it."""
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
            raise NoHostError(f"{self._path}: this system has no Unix sockets, which hosts and clients need")
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self._timeout)
            connection.connect(os.fspath(self._path))
            check_peer(connection)
            hello = wire.encode(wire.Hello(wire.VERSION))
            reply = self._exchange(connection, hello, self._timeout)
            if isinstance(reply, wire.Failed):
                raise wire.error_of(reply)
            if not isinstance(reply, wire.Welcome):
                raise ProtocolError(f"{self._path}: the host did not send its greeting")
        except HotloadError:
            connection.close()
            raise
        except OSError as error:
            connection.close()
            raise NoHostError(f"{self._path}: no host answers: {error.strerror or error}") from error
        return connection

    def _exchange(self, connection: socket.socket, payload: bytes, timeout: float) -> wire.Reply:
        try:
            wire.send(connection, payload)
            answer = wire.receive(connection, timeout)
        except TimeoutError as error:
            raise NoHostError(
                f"{self._path}: the host did not answer within {timeout:g} s; it is busy, or a plugin hangs"
            ) from error
        except OSError as error:
            raise NoHostError(f"{self._path}: the host hung up: {error.strerror or error}") from error
        if answer is None:
            raise NoHostError(f"{self._path}: the host hung up; it may have ended")
        return wire.decode(answer, wire.REPLY)
