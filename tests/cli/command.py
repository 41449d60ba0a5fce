"""The real ``hotload`` command in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, NamedTuple

from tests.waiting import PATIENCE

HOTLOAD = str(Path(sys.executable).with_name("hotload"))


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def plugins(self) -> list[dict[str, object]]:
        """What ``--json`` printed of the plugins."""
        record = json.loads(self.out)
        assert list(record) == ["plugins"]
        plugins: list[dict[str, object]] = record["plugins"]
        return plugins


class Lines:
    """The lines of a stream, as they come."""

    def __init__(self, stream: IO[str]) -> None:
        self.seen: list[str] = []
        self._stream = stream
        self._came = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for(self, part: str) -> str:
        """Return the first line with ``part`` in it."""
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
    """A command that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        assert process.stderr is not None
        self.out, self.err = Lines(process.stdout), Lines(process.stderr)

    def wait(self) -> int:
        """Return the exit code."""
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        self.out.end()
        self.err.end()


class Hotload:
    """Runs the command in a project folder."""

    def __init__(self, root: Path, session: Path) -> None:
        self.root = root
        self.session = session
        self._environment = {**os.environ, "XDG_RUNTIME_DIR": str(session)}
        self._running: list[Running] = []

    def __call__(self, *arguments: str, **environment: str) -> Done:
        """Run the command to its end."""
        done = subprocess.run(
            [HOTLOAD, *arguments],
            cwd=self.root,
            env={**self._environment, **environment},
            capture_output=True,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            timeout=3 * PATIENCE,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> Running:
        """Start the command."""
        process = subprocess.Popen(
            [HOTLOAD, *arguments],
            cwd=self.root,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
        )
        self._running.append(Running(process))
        return self._running[-1]

    def host(self, *arguments: str) -> Running:
        """Start a host, and wait until it serves."""
        running = self.start("run", *arguments)
        running.err.wait_for("serves plugins/")
        return running

    def shell(self, script: str) -> Done:
        """Run a shell script in which ``$HOTLOAD`` is the command."""
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.root,
            env={**self._environment, "HOTLOAD": HOTLOAD},
            capture_output=True,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            timeout=PATIENCE,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def close(self) -> None:
        """End what still runs."""
        for running in self._running:
            running.kill()
