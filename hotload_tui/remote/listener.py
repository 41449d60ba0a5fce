"""``Listener``: hears the events of a host, and finds the host again after it was gone."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

from hotload_tui.core.errors import HotloadError, NoHostError, ProtocolError
from hotload_tui.core.events import (
    AnyEvent,
    EventsMissed,
    HostLost,
    HostReached,
    HostResumed,
    HostStalled,
)
from hotload_tui.remote import frames, protocol

SILENCE: Final = 3 * protocol.BEAT
"""Seconds without a heartbeat after which the host counts as stalled."""

_RETRY: Final = 0.25  # seconds between two attempts to find the host again
_JOIN_TIMEOUT: Final = 1.0  # seconds


class Listener:
    """One thread that publishes what the host tells, and what becomes of the host itself."""

    def __init__(
        self,
        connect: Callable[[], socket.socket],
        publish: Callable[[AnyEvent], None],
        timeout: float,
    ) -> None:
        """Hear the host that ``connect`` reaches, now and again later; it raises ``HotloadError`` for none.

        ``timeout`` is for the first state, in seconds.
        """
        self._connect = connect
        self._publish = publish
        self._timeout = timeout
        self._closed = threading.Event()
        self._told = threading.Condition()
        self._number = 0
        self._pid = 0
        self._connection = connect()
        self.trouble = ""
        """Why there is no host now; empty while there is one."""
        try:
            self._begin(self._connection)
        except HotloadError:
            self._connection.close()
            raise
        self._thread = threading.Thread(target=self._run, name="hotload-events", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hear no more."""
        self._closed.set()
        with contextlib.suppress(OSError):  # it may be gone already
            self._connection.shutdown(socket.SHUT_RDWR)
        with self._told:
            self._told.notify_all()
        if self._thread is not threading.current_thread():  # a subscriber may close what it listens to
            self._thread.join(_JOIN_TIMEOUT)

    def wait_for(self, number: int, seconds: float) -> None:
        """Wait until event ``number`` was published here, so that who gave a command has heard what it did.

        At most ``seconds``; not at all in the thread that publishes, nor without a host.
        """
        if self._thread is threading.current_thread():
            return
        with self._told:
            self._told.wait_for(
                lambda: self._number >= number or bool(self.trouble) or self._closed.is_set(), seconds
            )

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                reason = self._hear()
            except (HotloadError, OSError) as error:
                reason = str(error)
            self._connection.close()
            if not self._closed.is_set():
                self._lose(reason)
                self._find()
        self._connection.close()

    def _begin(self, connection: socket.socket) -> None:
        """Ask for the events, and take the state that comes first."""
        try:
            frames.send(connection, frames.encode(protocol.Listen()))
            news = _next(connection, self._timeout)
        except OSError as error:
            raise NoHostError(f"the host did not tell its state: {error}") from error
        if isinstance(news, protocol.Failed):
            raise protocol.error_of(news)
        if not isinstance(news, protocol.State):
            raise ProtocolError("the host does not begin with its state")
        self._pid = news.snapshot.host.pid
        self._advance(news.after)

    def _hear(self) -> str:
        """Publish what comes until the connection ends; return why it did."""
        while True:
            news = self._next()
            match news:
                case protocol.Events():
                    for event in news.events:
                        self._publish(event)
                    self._advance(news.first + len(news.events) - 1)
                case protocol.State():
                    self._publish(EventsMissed(time.time(), news.after - self._number))
                    self._advance(news.after)
                case protocol.Failed():
                    raise protocol.error_of(news)
                case protocol.Farewell():
                    return "it has ended, or serves no longer"
                case protocol.Beat():
                    pass
                case None:
                    return "it ended without a word"

    def _next(self) -> protocol.News | None:
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
        with self._told:
            self.trouble = event.describe()
            self._told.notify_all()
        self._publish(event)

    def _find(self) -> None:
        """Try to reach a host until there is one; a mismatch of versions is told once."""
        told = ""
        while not self._closed.wait(_RETRY):
            try:
                connection = self._connect()
            except HotloadError as error:
                if isinstance(error, ProtocolError) and str(error) != told:
                    told = str(error)
                    self._lose(told)
                continue
            self._number = 0  # another process counts its own
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
        with self._told:
            self._number = number
            self._told.notify_all()


def _next(connection: socket.socket, wait: float | None) -> protocol.News | None:
    payload = frames.receive(connection, wait)
    return None if payload is None else protocol.news_of(payload)
