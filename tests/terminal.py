"""A terminal in memory in which the real program runs: a pty, read into pyte's screen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self

import pyte

from tests.waiting import PATIENCE

KEYS: Mapping[str, bytes] = {
    "enter": b"\r",
    "escape": b"\x1b",
    "tab": b"\t",
    "down": b"\x1b[B",
    "up": b"\x1b[A",
    "ctrl+p": b"\x10",
    "ctrl+q": b"\x11",
}

PIECE = 256
"""Bytes that are painted before the screen is checked again, however many have arrived."""


_P = ParamSpec("_P")
_SEQUENCES = frozenset(pyte.Stream.csi.values())


class _Screen(pyte.Screen):
    """A screen that ignores impossible parameters, as terminals do.

    A program that is killed can leave half of a sequence, with which the next program's output continues.
    """

    def __getattribute__(self, name: str) -> object:
        found = super().__getattribute__(name)
        return _tolerant(found) if name in _SEQUENCES else found


def _tolerant(method: Callable[_P, object]) -> Callable[_P, object]:
    def call(*arguments: _P.args, **options: _P.kwargs) -> object:
        try:
            return method(*arguments, **options)
        except (TypeError, UnboundLocalError):  # pyte's answers to too many, and to unknown parameters
            return None

    return call


class Terminal:
    """A program on a terminal, as its user sees it; leaving the context manager kills it."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        columns: int = 80,
        rows: int = 24,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start ``argv`` in ``cwd`` on a terminal of the given size."""
        self._screen = _Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        settings = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "TEXTUAL_ANIMATIONS": "none"}
        # The test runner's COLUMNS and LINES would override the terminal's size.
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.modes_before = list(termios.tcgetattr(slave))
        """The modes before the program started, in the form of ``modes()``."""
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            argv,
            cwd=cwd,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**inherited, **settings, **(environment or {})},
            start_new_session=True,
            # A session leader must request its terminal; one system call is safe between fork and exec.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._master)

    def press(self, *keys: str) -> None:
        """Type keys: names of ``KEYS``, or text as it is."""
        for key in keys:
            os.write(self._master, KEYS.get(key, key.encode()))

    def text(self) -> str:
        """Return the text that is painted now."""
        return "\n".join(self._screen.display)

    def modes(self) -> list[object]:
        """Return the terminal's modes, as the program has set them."""
        return list(termios.tcgetattr(self._master))

    def has_mode(self, number: int) -> bool:
        """Return whether the program has switched on a private mode of the terminal."""
        return number << 5 in self._screen.mode  # pyte's number for a private mode

    def cells(self) -> list[list[pyte.screens.Char]]:
        """Return the cells of the screen that are painted now, with their colours."""
        return [
            [self._screen.buffer[row][column] for column in range(self._screen.columns)]
            for row in range(self._screen.lines)
        ]

    def is_at_start_of_line(self) -> bool:
        """Return whether the cursor is in the first column."""
        return self._screen.cursor.x == 0

    def stays_quiet(self, seconds: float) -> bool:
        """Return whether the program writes nothing for this many seconds."""
        return not self._read(seconds)

    def hang_up(self) -> None:
        """Close the terminal, as a closed window does."""
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), self._master)

    def is_restored(self) -> bool:
        """Return whether the cursor is visible and the mouse belongs to the terminal."""
        return pyte.modes.DECTCEM in self._screen.mode and not self.has_mode(1000)

    def wait_for(self, what: str | Callable[[str], bool]) -> str:
        """Read until the screen shows a text (or satisfies the function), and return the screen.

        Raises:
            AssertionError: the screen never did; the message has the last screen.
        """
        is_there = (lambda screen: what in screen) if isinstance(what, str) else what
        deadline = time.monotonic() + PATIENCE
        while not is_there(self.text()):
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not self._read(remaining):
                raise AssertionError(f"the screen never showed {what!r}; it shows:\n{self.text()}")
        return self.text()

    def wait_for_output(self, wanted: re.Pattern[bytes]) -> None:
        """Read until the program writes this pattern, without painting the output, which would take time.

        Raises:
            AssertionError: the program never wrote it.
        """
        deadline, output = time.monotonic() + PATIENCE, b""
        while not wanted.search(output):
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not select.select([self._master], [], [], remaining)[0]:
                raise AssertionError(f"the program never wrote {wanted.pattern!r}")
            output = output[-1000:] + os.read(self._master, 65536)

    def wait_for_exit(self) -> int:
        """Read until the program ends, and return its exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._read(max(0.0, deadline - time.monotonic())):
            pass
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def _read(self, patience: float) -> bool:
        """Paint the program's next output; return False if it ended or wrote nothing in time."""
        if not select.select([self._master], [], [], patience)[0]:
            return False
        try:
            output = os.read(self._master, PIECE)
        except OSError:  # Linux: the other side has no holder any more
            return False
        self._stream.feed(output)
        return bool(output)
