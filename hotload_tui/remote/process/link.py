"""The console's side of its supervisor: commands in, what becomes of the host out."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple, TypeAlias

from hotload_tui.remote.process import supervisor
from hotload_tui.remote.process.output import Line, Reader

_END: Final = 3.0  # seconds for a supervisor that has nothing left to do


class Started(NamedTuple):
    """A host was started."""

    pid: int


class Ended(NamedTuple):
    """A host ended."""

    pid: int
    code: int
    """As subprocess has it: negative for the signal that killed it."""


class Orphaned(NamedTuple):
    """The supervisor itself was killed; its host, if there was one, has been ended."""


News: TypeAlias = Started | Ended | Orphaned


class Link:
    """A supervisor, and the two streams of the hosts that it starts."""

    def __init__(self, command: Sequence[str], write: Callable[[str, Line], None]) -> None:
        """Start a supervisor for hosts that ``command`` starts.

        ``write`` gets ``stdout`` or ``stderr`` and a line of it.
        """
        self.news: Final[queue.SimpleQueue[News]] = queue.SimpleQueue()
        self._host = 0
        streams = {name: os.pipe() for name in ("stdout", "stderr")}
        out, err = (streams[name][1] for name in ("stdout", "stderr"))
        # Before there is another process that wants the processor: a thread is waited for until it runs.
        self._readers = [
            Reader(reading, name, lambda line, name=name: write(name, line))  # type: ignore[misc]
            for name, (reading, _) in streams.items()
        ]
        terminal = _terminal()
        modes = supervisor.modes_of(terminal) if terminal >= 0 else ""
        words = [str(number) for number in (out, err, terminal)]
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
            [sys.executable, "-I", "-S", str(Path(supervisor.__file__)), *words, modes, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[number for number in (out, err, terminal) if number >= 0],
            process_group=0,  # what ends the console's group must leave it alone
        )
        for number in (out, err, terminal):
            if number >= 0:
                os.close(number)
        assert self._process.stdout is not None
        threading.Thread(
            target=self._listen, args=(self._process.stdout,), name="hotload-link", daemon=True
        ).start()

    def send(self, word: str) -> None:
        """Give a command; one that the supervisor does not live to hear is followed by ``Orphaned``."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(f"{word}\n".encode())
            self._process.stdin.flush()

    def leave(self) -> None:
        """Say that the terminal is fine, and let the supervisor end what is left; does not wait long."""
        self.send("bye")
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END)

    def _listen(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                word, *numbers = line.split()
                if word == b"started":
                    self._host = int(numbers[0])
                    self.news.put(Started(self._host))
                else:
                    self._host = 0
                    self.news.put(Ended(int(numbers[0]), int(numbers[1])))
        self._process.wait()  # its output has ended, and so has it
        if self._host:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._host, signal.SIGKILL)
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self.news.put(Orphaned())


def _terminal() -> int:
    """Return a new descriptor of the terminal on which a console would be; -1 for none."""
    try:
        descriptor = sys.__stderr__.fileno() if sys.__stderr__ else -1
    except ValueError:  # closed
        return -1
    return os.dup(descriptor) if descriptor >= 0 and os.isatty(descriptor) else -1
