"""The output of plugins: the host marks it with the plugin's name, the console reads it and limits its rate.

The host's standard streams are pipes. Each line printed through ``sys.stdout`` or ``sys.stderr`` gets a mark
with the name of the plugin whose code prints. Output of C code and of other processes has no mark.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from hotload_tui.core.interpreter import caller

_MARK: Final = b"\x1e"  # record separator: mark, plugin, mark, text, line feed
_LONGEST: Final = 4000  # bytes of one line; with its mark it fits into one atomic write to a pipe
_DEEPEST: Final = 200  # frames that are searched for the plugin

RATE: Final = 500
"""Maximum number of lines that are kept from each stream per second."""

_CHUNK: Final = 1 << 16  # bytes
_SECOND: Final = 1.0
_CATCH_UP: Final = 0.5  # seconds
_INSTANT: Final = 0.001  # seconds between two looks at the stream


class MarkedStream(io.TextIOBase):
    """Replaces ``sys.stdout`` or ``sys.stderr`` in a host, and marks each line with its plugin."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, descriptor: int, plugin_of: Callable[[str], str]) -> None:
        """Write to ``descriptor``; ``plugin_of`` returns the plugin of a module name, empty for none."""
        self._descriptor = descriptor
        self._plugin_of = plugin_of
        self.buffer = io.FileIO(descriptor, "w", closefd=False)
        self._unfinished: dict[str, str] = {}
        self._lock = threading.RLock()

    def write(self, text: str, /) -> int:
        """Write complete lines at once, and keep the rest until its line is complete or too long."""
        plugin = self._printing()
        with self._lock:
            *lines, rest = (self._unfinished.pop(plugin, "") + text).split("\n")
            for line in lines:
                self._send(plugin, line)
            if len(rest) > _LONGEST:
                self._send(plugin, rest)
            elif rest:
                self._unfinished[plugin] = rest
        return len(text)

    def flush(self) -> None:
        """Write the incomplete lines, each as a separate line."""
        with self._lock:
            unfinished, self._unfinished = self._unfinished, {}
            for plugin, text in unfinished.items():
                self._send(plugin, text)

    def fileno(self) -> int:
        """Return the underlying descriptor."""
        return self._descriptor

    def writable(self) -> bool:
        """Return ``True``: the stream is always writable."""
        return True

    def close(self) -> None:
        """Do nothing: a plugin must not close the stream that all plugins share."""

    def _send(self, plugin: str, line: str) -> None:
        content = line.encode("utf-8", "backslashreplace")
        mark = _MARK + plugin.encode("utf-8", "backslashreplace") + _MARK if plugin else b""
        with contextlib.suppress(OSError):  # the reader is gone, or a plugin closed the descriptor
            for start in range(0, max(1, len(content)), _LONGEST):
                os.write(self._descriptor, mark + content[start : start + _LONGEST] + b"\n")

    def _printing(self) -> str:
        """Return the plugin whose code is nearest to this call on the stack; empty for none."""
        frame = caller(1)
        for _ in range(_DEEPEST):
            if frame is None:
                break
            name = frame.f_globals.get("__name__")
            plugin = self._plugin_of(name) if type(name) is str else ""
            if plugin:
                return plugin
            frame = frame.f_back
        return ""


class Line(NamedTuple):
    """A line that the host process wrote."""

    plugin: str
    """Name of the plugin that printed the line; empty if unknown."""
    text: str


class Reader:
    """Reads one of the host's streams in a thread until no process can write to it any more."""

    def __init__(self, descriptor: int, name: str, write: Callable[[Line], None]) -> None:
        """Start the thread; ``write`` receives each kept line, and the number of dropped bytes as a line."""
        self._descriptor = descriptor
        self._write = write
        self._until = 0.0
        self._room = RATE
        self._dropped = 0
        self._begun = b""
        self._reading = threading.Lock()
        threading.Thread(target=self._run, name=f"hotload-{name}", daemon=True).start()

    def catch_up(self) -> None:
        """Wait until all output so far is written; at most ``_CATCH_UP``, for a process may never stop."""
        deadline = time.monotonic() + _CATCH_UP
        with contextlib.suppress(OSError, ValueError):  # the stream has ended
            while select.select([self._descriptor], [], [], 0)[0] and time.monotonic() < deadline:
                time.sleep(_INSTANT)
        with self._reading:
            pass

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                wait = max(0.0, self._until - time.monotonic()) if self._dropped else None
                if not select.select([self._descriptor], [], [], wait)[0]:
                    self._account()
                    continue
                with self._reading:
                    chunk = os.read(self._descriptor, _CHUNK)
                    self._take(chunk)
                if not chunk:
                    break
        self._account()
        os.close(self._descriptor)

    def _take(self, chunk: bytes) -> None:
        now = time.monotonic()
        if now >= self._until:
            self._account()
            self._until, self._room = now + _SECOND, RATE
        if not self._room:  # this bounds the cost of a flood
            self._dropped += len(self._begun) + len(chunk)
            end = chunk.rfind(b"\n") + 1
            self._begun = chunk[end:][:_LONGEST]
            self._dropped -= len(self._begun)
            return
        for line in self._lines(chunk):
            if self._room:
                self._room -= 1
                self._write(_line(line))
            else:
                self._dropped += len(line) + 1

    def _lines(self, chunk: bytes) -> Iterator[bytes]:
        *lines, self._begun = (self._begun + chunk).split(b"\n")
        yield from lines
        if len(self._begun) > _CHUNK:
            yield self._begun
            self._begun = b""

    def _account(self) -> None:
        if self._dropped:
            self._write(Line("", f"{self._dropped:,} bytes of output were dropped: too much"))
            self._dropped = 0


def _line(content: bytes) -> Line:
    plugin = b""
    if content.startswith(_MARK):
        plugin, _, content = content[len(_MARK) :].partition(_MARK)
    return Line(plugin.decode("utf-8", "replace"), content[:_LONGEST].decode("utf-8", "replace"))
