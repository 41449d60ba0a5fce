"""The ``hotload`` command, run in the test's process or in its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from hotload_tui.cli.boundary import execute
from hotload_tui.remote import serve
from tests import conftest
from tests.waiting import PATIENCE

HOTLOAD = str(Path(sys.executable).with_name("hotload"))


class Done(NamedTuple):
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def plugins(self) -> list[dict[str, object]]:
        """The plugins that ``--json`` printed."""
        record = json.loads(self.out)
        assert list(record) == ["plugins"]
        plugins: list[dict[str, object]] = record["plugins"]
        return plugins


class Lines:
    """The lines of a stream, as they arrive."""

    def __init__(self, stream: IO[str]) -> None:
        self.seen: list[str] = []
        self._stream = stream
        self._came = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for(self, part: str) -> str:
        """Return the first line that contains ``part``."""
        with self._came:
            assert self._came.wait_for(lambda: any(part in line for line in self.seen), PATIENCE), self.seen
            return next(line for line in self.seen if part in line)

    def end(self) -> list[str]:
        """Return all lines, once the stream has ended."""
        self._reader.join(PATIENCE)
        return self.seen

    def _read(self) -> None:
        with self._stream:
            for line in self._stream:
                with self._came:
                    self.seen.append(line.rstrip("\n"))
                    self._came.notify_all()


class Running:
    """A running command."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        assert process.stderr is not None
        self.out, self.err = Lines(process.stdout), Lines(process.stderr)

    def write(self, text: str) -> None:
        """Write to the standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def wait(self) -> int:
        """Wait for the end, and return the exit code."""
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.out.end()
        self.err.end()


def has_ended(process: int) -> bool:
    """Return whether a process is gone or a zombie."""
    try:
        return Path("/proc", str(process), "stat").read_text().rpartition(") ")[2].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


class Hotload:
    """Run the command in the working directory, which is the workspace."""

    def __init__(self, workspace: conftest.Workspace) -> None:
        self._workspace = workspace
        self._running: list[Running] = []
        self._served = contextlib.ExitStack()

    def __call__(self, *arguments: str, **environment: str) -> Done:
        """Run the command in this process, and restore streams and signals afterwards."""
        with (
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            pytest.MonkeyPatch.context() as patch,
        ):
            for name, value in environment.items():
                patch.setenv(name, value)
            with _as_process(patch, out, err):
                try:
                    code = execute(list(arguments))
                except SystemExit as end:
                    code = int(end.code or 0)
            out.seek(0)
            err.seek(0)
            return Done(code, out.read().decode(), err.read().decode())

    def process(self, *arguments: str, **environment: str) -> Done:
        """Run the command in its own process, and wait for its end."""
        done = subprocess.run(
            [HOTLOAD, *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            timeout=3 * PATIENCE,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def serve(self, *, enable_watch: bool = False) -> conftest.Running:
        """Start a host in this process."""
        running = conftest.Running(self._workspace.config(enable_watch=enable_watch))
        running.manager.start()
        self._served.callback(running.manager.stop)
        self._served.enter_context(serve(running.manager))
        return running

    def start(self, *arguments: str, is_fed: bool = False) -> Running:
        """Start the command in its own process; ``is_fed``: the test writes its standard input."""
        process = subprocess.Popen(
            [HOTLOAD, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.PIPE if is_fed else subprocess.DEVNULL,
            encoding="utf-8",
        )
        self._running.append(Running(process))
        return self._running[-1]

    def host(self, *arguments: str) -> Running:
        """Start a host in its own process, and wait until it runs."""
        running = self.start("run", *arguments)
        running.err.wait_for("runs plugins/")
        return running

    def shell(self, script: str) -> Done:
        """Run a shell script in which ``$HOTLOAD`` is the command."""
        done = subprocess.run(
            ["bash", "-c", script],
            env={**os.environ, "HOTLOAD": HOTLOAD},
            capture_output=True,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            timeout=PATIENCE,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def close(self) -> None:
        """End all running commands and hosts."""
        self._served.close()
        for running in self._running:
            running.kill()


@contextlib.contextmanager
def _as_process(patch: pytest.MonkeyPatch, out: IO[bytes], err: IO[bytes]) -> Iterator[None]:
    """Set up descriptors, streams and signals as a process has them."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    kept = [os.dup(number) for number in range(3)]
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
        for number, file in enumerate((nothing, out, err)):
            os.dup2(file.fileno(), number)
    with (
        open(1, "w", encoding="utf-8", closefd=False) as stdout,
        open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False) as stderr,
    ):
        patch.setattr(sys, "stdout", stdout)
        patch.setattr(sys, "stderr", stderr)
        try:
            yield
        finally:
            stdout.flush()
            for number, descriptor in enumerate(kept):
                os.dup2(descriptor, number)
                os.close(descriptor)
            for signal_number, handler in handlers.items():
                signal.signal(signal_number, handler)
            patch.undo()
