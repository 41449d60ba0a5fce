"""A contestant in its own process, which reads tasks and prints its answers."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from benchmarks.environment import variables
from benchmarks.figures import LostError

PATIENCE = 10.0  # seconds until an answer counts as lost


class Contestant:
    """A script that runs until its context ends."""

    def __init__(self, command: Sequence[str], cwd: Path | None = None) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env=variables(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )
        self._lines = SimpleQueue[str]()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def tell(self, text: str) -> None:
        """Write a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n")

    def hear(self, patience: float = PATIENCE) -> str:
        """Return the next line, waiting at most ``patience`` seconds.

        Raises: LostError.
        """
        try:
            return self._lines.get(timeout=patience)
        except Empty:
            raise LostError from None

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.strip())
