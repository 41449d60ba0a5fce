"""Output of commands: data goes to standard output, messages to standard error; a closed pipe is no error."""

from __future__ import annotations

import json
import os
import re
import select
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec

from hotload_tui.core.errors import HotloadError

_CONTROLS: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)


class DataStream:
    """The stream for a command's data."""

    def __init__(self, stream: BinaryIO | None) -> None:
        """Write to ``stream``; ``None`` (standard output is closed) discards all data."""
        self._stream = stream
        self._lock = threading.Lock()

    def write(self, data: bytes) -> bool:
        """Write without buffering and return whether the reader is still there.

        Raises:
            HotloadError: the data cannot be written, for instance because a disk is full.

        """
        with self._lock:
            if self._stream is None:
                return False
            try:
                self._stream.write(data)
                self._stream.flush()
            except BrokenPipeError:
                self._abandon()
                return False
            except OSError as error:
                self._abandon()
                raise HotloadError(f"standard output cannot be written: {error.strerror}") from error
            return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()

    def line(self, text: str) -> bool:
        """Write a line of text and return whether the reader is still there."""
        return self.write(f"{text}\n".encode("utf-8", "backslashreplace"))

    def record(self, value: object) -> bool:
        """Write a value as one line of JSON and return whether the reader is still there."""
        return self.write(json_bytes(value) + b"\n")

    def when_reader_leaves(self, act: Callable[[], None]) -> None:
        """Call ``act`` in a thread when the reader of a pipe leaves, even if nothing is written any more."""
        if self._stream is None or not hasattr(select, "poll"):
            return
        errors = select.poll()
        errors.register(self._stream.fileno(), 0)

        def wait() -> None:
            errors.poll()
            act()

        threading.Thread(target=wait, name="hotload-reader", daemon=True).start()

    def _abandon(self) -> None:
        """Discard the buffered data; otherwise the interpreter reports an error when it exits."""
        if self._stream is not None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        self._stream = None


def standard() -> DataStream:
    """Return standard output."""
    return DataStream(None if sys.stdout is None else sys.stdout.buffer)


def take_standard() -> DataStream:
    """Return standard output, and redirect the output of plugins to standard error.

    The redirection replaces the descriptor, not only ``sys.stdout``: C code and child processes print, too.
    """
    if sys.stdout is None:
        return DataStream(None)
    sys.stdout.flush()
    descriptor = sys.stdout.fileno()
    private = os.fdopen(os.dup(descriptor), "wb")
    other = os.open(os.devnull, os.O_WRONLY) if sys.stderr is None else os.dup(sys.stderr.fileno())
    os.dup2(other, descriptor)
    os.close(other)
    if sys.stderr is not None:
        sys.stdout = sys.stderr  # line-buffered: nothing is lost when a plugin ends the process
    return DataStream(private)


def narrate(text: str) -> None:
    """Print a message for the user on standard error."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()
    except OSError:
        sys.stderr = None  # treat it as closed from now on


def printable(text: str) -> str:
    r"""Escape control characters, for example as ``\x1b``: the text of a plugin must not control a terminal.

    Marks that change the direction of writing and invisible characters are escaped, too.
    """
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def json_bytes(value: object) -> bytes:
    """Encode as JSON; broken Unicode (in a file name, for example) becomes question marks."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")
