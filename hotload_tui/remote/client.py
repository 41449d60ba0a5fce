"""``RemoteManager``: the manager of another process, through its socket."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from hotload_tui.core.errors import HotloadError, NoHostError, ProtocolError, UsageError
from hotload_tui.core.plugin import Invocation, LogLine, PluginDetail, PluginStatus, Snapshot
from hotload_tui.remote import frames, protocol

_T = TypeVar("_T")

_TIMEOUT: Final = 10.0  # seconds for an answer that is only looked up
_WORK_TIMEOUT: Final = 120.0  # seconds for an answer that takes a build, a load or a call


class RemoteManager:
    """The commands and questions of ``ManagerApi``, answered by the host at ``path``.

    Every method may raise what the manager raises there, and ``NoHostError``. All are safe to call from
    any thread: each request in work has a connection of its own, and idle ones are used again.
    """

    def __init__(self, path: Path, *, timeout: float = _TIMEOUT, work_timeout: float = _WORK_TIMEOUT) -> None:
        """Connect; the two limits are in seconds, for questions and for commands.

        Raises:
            NoHostError: nobody answers there.
            ProtocolError: the host is of another version.

        """
        self._path = path
        self._timeout = timeout
        self._work_timeout = work_timeout
        self._lock = threading.Lock()
        self._closed = False
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

    def snapshot(self) -> Snapshot:
        """Return the whole state at this moment."""
        return self._ask(protocol.GetSnapshot(), Snapshot, self._timeout)

    def detail(self, name: str) -> PluginDetail:
        """Return everything known about one plugin."""
        return self._ask(protocol.GetDetail(name), PluginDetail, self._timeout)

    def source(self, name: str, file: str, generation: int | None = None) -> str:
        """Return one file's text: as loaded by the serving ``generation``, or (``None``) as on disk."""
        return self._ask(protocol.GetSource(name, file, generation), str, self._timeout)

    def log(self, since: int = 0) -> tuple[LogLine, ...]:
        """Return the kept log lines with a number greater than ``since``."""
        return self._ask(protocol.GetLog(since), tuple[LogLine, ...], self._timeout)

    def rebuild(self, name: str | None = None, *, force: bool = False) -> tuple[PluginStatus, ...]:
        """Build and load one plugin, or all that changed."""
        return self._ask(protocol.Rebuild(name, force), tuple[PluginStatus, ...], self._work_timeout)

    def enable(self, name: str) -> PluginStatus:
        """Switch a plugin on."""
        return self._ask(protocol.Enable(name), PluginStatus, self._work_timeout)

    def disable(self, name: str) -> PluginStatus:
        """Switch a plugin off."""
        return self._ask(protocol.Disable(name), PluginStatus, self._work_timeout)

    def clean(self, name: str | None = None) -> int:
        """Remove the artifacts of one plugin, or of all; returns their number."""
        return self._ask(protocol.Clean(name), int, self._work_timeout)

    def new(self, name: str) -> PluginStatus:
        """Make a plugin from the template."""
        return self._ask(protocol.New(name), PluginStatus, self._work_timeout)

    def invoke(self, point: str, /, *args: object, **kwargs: object) -> Invocation:
        """Call a hook point once; the arguments must be JSON values."""
        return self._ask(protocol.Invoke(point, args, kwargs), Invocation, self._work_timeout)

    def _ask(self, request: protocol.Request, expected: type[_T], timeout: float) -> _T:
        try:
            payload = frames.encode(request)
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
        return frames.decode(reply.result, expected)

    def _keep(self, connection: socket.socket) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self._timeout)
            connection.connect(os.fspath(self._path))
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
