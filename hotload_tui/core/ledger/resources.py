"""What a generation leaves open, and nobody else has: files, sockets, processes, executors."""

from __future__ import annotations

import functools
import io
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, cast

_PATIENCE = 1.0  # seconds for a process to end that was asked to
_STANDARD = 2  # the last of the descriptors that belong to the process
_STREAMS = (io.TextIOWrapper, io.BufferedWriter, io.BufferedReader, io.BufferedRandom, io.FileIO)


class Resource(NamedTuple):
    """Something that is open, and how to close it."""

    category: str
    what: str
    close: Callable[[], object]


def is_resource(thing: object) -> bool:
    """Tell whether it is something that can be open."""
    kind = type(thing)
    executor = getattr(sys.modules.get("concurrent.futures"), "Executor", None)
    kinds = (socket.socket, subprocess.Popen, *_STREAMS) + ((executor,) if executor else ())
    return issubclass(kind, kinds)


def resources(things: Iterable[object]) -> list[Resource]:
    """Return what is open among the objects of a generation that nobody else holds."""
    things = list(things)
    found = [resource for thing in things for resource in _other(thing)]
    for kind in _STREAMS:  # the outermost first: it has what is not written yet
        found += [resource for thing in things if issubclass(type(thing), kind) for resource in _file(thing)]
    return found


def _other(thing: object) -> Iterator[Resource]:
    kind = type(thing)
    executor = getattr(sys.modules.get("concurrent.futures"), "Executor", None)
    if issubclass(kind, socket.socket) and cast("socket.socket", thing).fileno() >= 0:
        yield Resource(
            "socket", f"{cast('socket.socket', thing).family.name}", cast("socket.socket", thing).close
        )
    elif issubclass(kind, subprocess.Popen):
        process = cast("subprocess.Popen[bytes]", thing)
        if process.poll() is None:
            yield Resource("process", f"{process.pid}", functools.partial(_end, process))
    elif executor is not None and issubclass(kind, executor):
        yield Resource("executor", kind.__qualname__, functools.partial(executor.shutdown, thing, wait=False))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end; raises ``subprocess.TimeoutExpired`` if it does not."""
    process.terminate()
    process.wait(_PATIENCE)


def _file(thing: object) -> Iterator[Resource]:
    stream = cast("io.IOBase", thing)
    name = getattr(stream, "name", "")
    if not stream.closed and stream.fileno() > _STANDARD:
        yield Resource("file", str(name), stream.close)
