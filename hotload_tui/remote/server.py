"""``serve(manager)``: makes a manager reachable on a Unix socket for commands and consoles of the same user.

All listeners read from one bounded buffer of events. A listener that falls behind gets the whole state
instead of the dropped events, so a slow client costs the manager neither time nor unbounded memory.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import math
import os
import selectors
import socket
import threading
import weakref
from collections import deque
from collections.abc import Callable
from itertools import islice
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from msgspec import Raw

from hotload_tui.core.api import Call, ManagerApi, perform
from hotload_tui.core.errors import HotloadError, ProtocolError, RefusedError, near
from hotload_tui.core.events import AnyEvent
from hotload_tui.core.primitives import Condition, Event, Lock, Thread, current_thread, monotonic
from hotload_tui.remote import wire
from hotload_tui.remote.address import check_peer, find_hosts, is_alive, private_folder, socket_name

KEPT: Final = 4096
"""Number of events that are kept; a listener that is further behind gets the whole state instead."""

_BATCH: Final = 256  # events in one message


class Portion(NamedTuple):
    """The next events for a listener; empty when no event arrived in time."""

    events: tuple[AnyEvent, ...]
    missed: bool = False
    """Whether the buffer no longer has the next event."""
    is_last: bool = False
    """Whether the feed is closed and has no more events."""


class Feed:
    """Keeps the newest events of a manager, from its construction to ``close()``."""

    def __init__(self, manager: ManagerApi) -> None:
        self._events: deque[AnyEvent] = deque(maxlen=KEPT)
        self._number = 0
        self._closed = False
        self._came = Condition()
        self._unsubscribe = manager.subscribe(self._append)

    @property
    def number(self) -> int:
        """Number of the newest event; the first event has number 1."""
        return self._number

    def after(self, number: int, wait: float) -> Portion:
        """Return the events that follow event ``number``; if there are none, wait up to ``wait`` seconds."""
        with self._came:
            if self._number == number and not self._closed:
                self._came.wait(wait)
            behind = self._number - number
            if behind > len(self._events):
                return Portion((), missed=True)
            start = len(self._events) - behind
            events = tuple(islice(self._events, start, start + _BATCH))
            return Portion(events, is_last=self._closed and not events)

    def close(self) -> None:
        """Stop receiving events, and wake all listeners; they can still read the kept events."""
        self._unsubscribe()
        with self._came:
            self._closed = True
            self._came.notify_all()

    def _append(self, event: AnyEvent) -> None:
        with self._came:
            self._events.append(event)
            self._number += 1
            self._came.notify_all()


logger = logging.getLogger("hotload.engine")

_MOST_CLIENTS: Final = 64
_MOST_REFUSALS: Final = 8  # clients that get the reason at the same time; further ones are hung up on
_SPARED: Final = 1.0  # seconds for which a connection may wait before it has to make room for others
_HELLO_TIMEOUT: Final = 5.0  # seconds in which a client must send Hello
_JOIN_TIMEOUT: Final = 1.0  # seconds that close() waits for pending answers, and once more for the threads
_DISMISS_TIMEOUT: Final = 1.0  # seconds
_UNREAD: Final = 1024 * 1024  # bytes
_servers: weakref.WeakSet[Server] = weakref.WeakSet()


def serve(manager: ManagerApi, *, project: Path | None = None) -> Server:
    """Make ``manager`` reachable for this user's consoles and commands until ``close()`` or process exit.

    The function returns at once; the result can be used in a ``with`` statement. ``project`` is the runtime
    directory, by default the manager's. A warning in the log names other hosts on the same directory.

    Raises:
        RefusedError: the system has no Unix sockets, there is no safe folder for the socket, the socket
            cannot be created, or this process already has a server for the project.

    """
    if not hasattr(socket, "AF_UNIX"):
        raise RefusedError("this system has no Unix sockets, which consoles need to reach a manager")
    runtime_dir = project or Path(manager.snapshot().host.runtime_dir)
    path = private_folder() / socket_name(runtime_dir, os.getpid())
    if path.exists() and is_alive(path):
        raise RefusedError(f"{path}: this process already has a server for {runtime_dir}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A socket that is bound but does not listen yet looks dead, and find_hosts would remove it. It gets
        # its final name only once it listens.
        unborn = path.with_name(f".{path.name}")
        unborn.unlink(missing_ok=True)
        listener.bind(os.fspath(unborn))
        unborn.chmod(0o600)
        listener.listen()
        listener.setblocking(False)
        unborn.replace(path)
    except OSError as error:
        listener.close()
        raise RefusedError(f"{path}: no socket can be made there: {error.strerror}") from error
    others = [str(host.pid) for host in find_hosts(runtime_dir) if host.socket != path]
    if others:
        logger.warning(
            "another host (%s) uses %s, too: each host loads every change, and commands need --host PID",
            ", ".join(others),
            near(runtime_dir),
        )
    return Server(manager, listener, path)


class Server:
    """A manager's socket server: one thread accepts connections, and one thread per client answers it."""

    def __init__(self, manager: ManagerApi, listener: socket.socket, path: Path) -> None:
        self.socket: Final = path
        self._manager = manager
        self._listener = listener
        self._feed = Feed(manager)
        self._pid = os.getpid()
        self._closing = Event()
        self._waker, self._wake = socket.socketpair()
        self._lock = Lock()
        self._clients: dict[socket.socket, threading.Thread] = {}
        self._waiting: dict[socket.socket, float] = {}
        """The clients that the server waits for, and since when."""
        self._refusals = threading.BoundedSemaphore(_MOST_REFUSALS)
        self._acceptor = Thread(self._accept, "hotload-server")
        self._acceptor.start()
        _servers.add(self)
        atexit.register(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def descriptors(self) -> tuple[int, ...]:
        """Return the file descriptors without which the server cannot accept clients."""
        return tuple(part.fileno() for part in (self._listener, self._waker, self._wake))

    def close(self) -> None:
        """Remove the socket, finish pending answers, disconnect all clients; a second call does nothing."""
        if self._pid != os.getpid() or self._closing.is_set():  # a forked child must not remove the socket
            return
        self._closing.set()
        atexit.unregister(self.close)
        self.socket.unlink(missing_ok=True)
        self._feed.close()
        self._waker.send(b"\0")
        self._acceptor.join()
        for part in (self._listener, self._waker, self._wake):
            part.close()
        with self._lock:
            clients = dict(self._clients)
        # SHUT_RD first: it blocks new requests, but a waiting client still gets its answer.
        for how in (socket.SHUT_RD, socket.SHUT_RDWR):
            _hang_up(clients, how)

    def forget(self) -> None:
        """Close all inherited sockets in a forked child: they belong to the parent process.

        Otherwise they would outlive the parent: its clients would not notice its end, and its socket would
        look alive.
        """
        for inherited in (self._listener, self._waker, self._wake, *self._clients):
            inherited.close()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while not self._closing.is_set():
                selector.select()
                try:
                    client, _ = self._listener.accept()
                except BlockingIOError:
                    continue
                except OSError as error:
                    logger.warning("a client could not be accepted: %s", error)
                    self._closing.wait(0.2)  # no free descriptors: the client stays in the queue
                    continue
                self._admit(client)

    def _admit(self, client: socket.socket) -> None:
        with self._lock:
            has_room = len(self._clients) < _MOST_CLIENTS or self._make_room()
            target, name = (
                (self._attend, "hotload-client") if has_room else (self._turn_away, "hotload-refusal")
            )
            thread = Thread(functools.partial(target, client), name)
            if has_room:
                self._clients[client] = thread
                self._waiting[client] = monotonic()
            elif not self._refusals.acquire(blocking=False):
                client.close()
                return
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no more threads at present
            logger.warning("a client could not be served: %s", error)
            self._drop(client)
            if not has_room:
                self._refusals.release()

    def _make_room(self) -> bool:
        """Hang up on the client that has been idle for longest, if any is; it connects again when needed."""
        idle, since = min(self._waiting.items(), key=itemgetter(1), default=(None, math.inf))
        if idle is None or monotonic() - since < _SPARED:
            return False
        self._clients.pop(idle, None)
        del self._waiting[idle]
        with contextlib.suppress(OSError):  # the client has just left
            idle.shutdown(socket.SHUT_RDWR)
        return True

    def _turn_away(self, client: socket.socket) -> None:
        """Send a client the reason why it is refused."""
        logger.warning("a client was turned away: there are %d already", _MOST_CLIENTS)
        reason = (
            f"the host has {_MOST_CLIENTS} connections already, and all of them are busy:"
            " close a console or a command, or try again"
        )
        try:
            _dismiss(client, RefusedError(reason))
        finally:
            client.close()
            self._refusals.release()

    def _receive(self, client: socket.socket, wait: float | None) -> bytes | None:
        """Return the client's next message; ``None`` if it left, or had to make room for another client."""
        payload = wire.receive(client, wait)
        with self._lock:
            return payload if self._waiting.pop(client, None) is not None else None

    def _attend(self, client: socket.socket) -> None:
        """Answer one client until it leaves or violates the protocol."""
        try:
            check_peer(client)
            if self._greet(client):
                self._answer(client)
        except HotloadError as error:
            _dismiss(client, error)
        except OSError:
            pass  # the client left, stopped reading, or sent no Hello in time: no error is sent
        finally:
            self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        with self._lock:
            self._clients.pop(client, None)
            self._waiting.pop(client, None)
        client.close()

    def _greet(self, client: socket.socket) -> bool:
        payload = self._receive(client, _HELLO_TIMEOUT)
        if payload is None:
            return False
        version = wire.decode(payload, wire.Hello).version
        if version != wire.VERSION:
            raise ProtocolError(
                f"the host uses protocol {wire.VERSION}, the client {version}:"
                " use the same version of hotload_tui on both sides"
            )
        wire.send(client, wire.encode(wire.Welcome(self._pid)))
        return True

    def _answer(self, client: socket.socket) -> None:
        while (payload := self._await_request(client)) is not None:
            request = wire.decode(payload, wire.REQUEST)
            if isinstance(request, wire.Listen):
                self._stream(client)
                return
            wire.send(client, self._reply(request))

    def _await_request(self, client: socket.socket) -> bytes | None:
        with self._lock:
            if client not in self._clients:
                return None
            self._waiting[client] = monotonic()
        return self._receive(client, None)

    def _stream(self, client: socket.socket) -> None:
        """Send the state and then the events until the client leaves, stops reading, or the feed ends."""
        number = 0
        portion = Portion((), missed=True)
        while True:
            if portion.missed:
                number = self._feed.number
            news = functools.partial(self._news, number, portion)
            wire.send(client, _encoded("Listen", news))
            # During close() SHUT_RD makes every client look as if it had left, but it must get Farewell.
            if portion.is_last or (_has_left(client) and not self._closing.is_set()):
                return
            number += len(portion.events)
            portion = self._feed.after(number, wire.BEAT)

    def _news(self, number: int, portion: Portion) -> wire.News:
        if portion.missed:
            return wire.State(number, self._manager.snapshot())
        if portion.events:
            return wire.Events(number + 1, portion.events)
        return wire.Farewell() if portion.is_last else wire.Beat()

    def _reply(self, call: Call) -> bytes:
        def done() -> wire.Done:
            result = Raw(wire.encode(perform(self._manager, call)))
            return wire.Done(result, self._feed.number)

        return _encoded(call.operation, done)


def _forget_all() -> None:
    for server in _servers:
        server.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _encoded(title: str, make: Callable[[], object]) -> bytes:
    """Encode the result of ``make``, or the error that it raises; an oversized answer becomes an error."""
    try:
        reply = wire.encode(make())
    except HotloadError as error:
        reply = wire.encode(wire.failure_of(error))
    except BaseException as error:  # the client must learn of a defect, and of what a handler passes on
        logger.exception("%s failed", title)
        text = f"the host failed on {title}: {type(error).__name__}: {error}"
        reply = wire.encode(wire.Failed("HotloadError", text))
    if len(reply) > wire.LIMIT:
        text = f"the answer has {len(reply):,} bytes (limit: {wire.LIMIT:,})"
        reply = wire.encode(wire.Failed("RefusedError", text))
    return reply


def _has_left(client: socket.socket) -> bool:
    """Return whether a listening client has closed its connection.

    Raises:
        ProtocolError: the client sent a message, which the protocol forbids after ``Listen``.

    """
    client.settimeout(0)
    try:
        said = client.recv(1)
    except BlockingIOError:
        client.settimeout(wire.PATIENCE)
        return False
    if said:
        raise ProtocolError("only the host sends on a connection after Listen; send commands on another")
    return True


def _hang_up(clients: dict[socket.socket, threading.Thread], how: int) -> None:
    """Shut down the clients' sockets, and wait up to ``_JOIN_TIMEOUT`` for their threads."""
    deadline = monotonic() + _JOIN_TIMEOUT
    for client in clients:
        with contextlib.suppress(OSError):  # the client may have left already
            client.shutdown(how)
    for thread in clients.values():
        if thread is not current_thread():  # a handler called by a client may close it
            thread.join(max(0.0, deadline - monotonic()))


def _dismiss(client: socket.socket, error: HotloadError) -> None:
    """Send a client the reason why the server disconnects it."""
    with contextlib.suppress(OSError):  # the client may have left already
        wire.send(client, wire.encode(wire.failure_of(error)))
        client.shutdown(socket.SHUT_WR)
        client.settimeout(_DISMISS_TIMEOUT)
        client.recv(_UNREAD)  # closing with unread input would discard the reason
