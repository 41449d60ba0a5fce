"""What plugins print: the host marks it with the plugin's name, the console reads and bounds it.

The host's standard streams are pipes. What is printed through ``sys.stdout`` and ``sys.stderr`` gets a mark
with the name of the plugin whose code prints; what C code and other processes write arrives without one.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final, NamedTuple

_MARK: Final = b"\x1e"  # record separator: mark, plugin, mark, text, line feed
_LONGEST: Final = 4000  # bytes of one line; with its mark it fits into one atomic write to a pipe
_DEEPEST: Final = 200  # frames in which the plugin is looked for

RATE: Final = 500
"""Lines that are kept of each stream in one second."""

_CHUNK: Final = 1 << 16  # bytes
_SECOND: Final = 1.0


class MarkedStream(io.TextIOBase):
    """``sys.stdout`` or ``sys.stderr`` of a host."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, descriptor: int, plugin_of: Callable[[str], str]) -> None:
        """Write to ``descriptor``; ``plugin_of`` tells whose a module's name is (empty: nobody's)."""
        self._descriptor = descriptor
        self._plugin_of = plugin_of
        self.buffer = io.FileIO(descriptor, "w", closefd=False)
        self._unfinished: dict[str, str] = {}
        self._lock = threading.RLock()

    def write(self, text: str, /) -> int:
        """Write whole lines at once; the rest waits for its end."""
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
        """Write what is unfinished, as lines of their own."""
        with self._lock:
            unfinished, self._unfinished = self._unfinished, {}
            for plugin, text in unfinished.items():
                self._send(plugin, text)

    def fileno(self) -> int:
        """Return the descriptor below."""
        return self._descriptor

    def writable(self) -> bool:
        """Tell that one can write."""
        return True

    def close(self) -> None:
        """Stay open: a plugin that closes it would take it from all others."""

    def _send(self, plugin: str, line: str) -> None:
        content = line.encode("utf-8", "backslashreplace")
        mark = _MARK + plugin.encode("utf-8", "backslashreplace") + _MARK if plugin else b""
        with contextlib.suppress(OSError):  # nobody reads any more, or a plugin closed the descriptor
            for start in range(0, max(1, len(content)), _LONGEST):
                os.write(self._descriptor, mark + content[start : start + _LONGEST] + b"\n")

    def _printing(self) -> str:
        """Return the plugin whose code is the nearest to this call."""
        frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - there is no public way to the callers
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
    """A line that the host's process wrote."""

    plugin: str
    """Whose it is; empty where that cannot be told."""
    text: str


class Reader:
    """Reads one of the host's streams in a thread, for as long as somebody can write to it."""

    def __init__(self, descriptor: int, name: str, tell: Callable[[Line], None]) -> None:
        """Begin; ``tell`` gets each line that is kept, and a word about those that are not."""
        self._descriptor = descriptor
        self._tell = tell
        self._until = 0.0
        self._room = RATE
        self._dropped = 0
        self._begun = b""
        self._thread = threading.Thread(target=self._run, name=f"hotload-{name}", daemon=True)
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait for the end of the stream, which comes when all who can write to it are gone."""
        self._thread.join(seconds)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                wait = max(0.0, self._until - time.monotonic()) if self._dropped else None
                if not select.select([self._descriptor], [], [], wait)[0]:
                    self._account()
                elif chunk := os.read(self._descriptor, _CHUNK):
                    self._take(chunk)
                else:
                    break
        self._account()
        os.close(self._descriptor)

    def _take(self, chunk: bytes) -> None:
        now = time.monotonic()
        if now >= self._until:
            self._account()
            self._until, self._room = now + _SECOND, RATE
        if not self._room:  # a flood costs no more than this
            self._dropped += len(self._begun) + len(chunk)
            end = chunk.rfind(b"\n") + 1
            self._begun = chunk[end:][:_LONGEST]
            self._dropped -= len(self._begun)
            return
        for line in self._lines(chunk):
            if self._room:
                self._room -= 1
                self._tell(_line(line))
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
            self._tell(Line("", f"{self._dropped:,} bytes of output were dropped: too much"))
            self._dropped = 0


def _line(content: bytes) -> Line:
    plugin = b""
    if content.startswith(_MARK):
        plugin, _, content = content[len(_MARK) :].partition(_MARK)
    return Line(plugin.decode("utf-8", "replace"), content[:_LONGEST].decode("utf-8", "replace"))
