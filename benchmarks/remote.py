"""Through the socket: the time of a command and of an event, and the number of events per second."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from hotload_tui.core.events import AnyEvent, LogWritten
from hotload_tui.remote import RemoteManager, find_hosts

_TELLING = """
import logging, time

def tell(count):
    log = logging.getLogger("hotplug.telling")
    for number in range(count):
        log.info("line %d %r", number, time.perf_counter())

def register(ctx):
    ctx.hook("nothing", lambda: None)
    ctx.hook("tell", tell)
"""


@contextlib.contextmanager
def attached() -> Iterator[RemoteManager]:
    """Yield a connection to a host in its own process."""
    with tempfile.TemporaryDirectory(prefix="hl-") as folder:
        entry = Path(folder, "plugins", "telling", "plugin.py")
        entry.parent.mkdir(parents=True)
        entry.write_text(_TELLING)
        os.environ["XDG_RUNTIME_DIR"] = folder
        command = [str(Path(sys.executable).with_name("hotload")), "run"]
        with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as host:
            while not (found := find_hosts(entry.parent.parent)):
                time.sleep(0.01)
            with RemoteManager(found[0].socket) as remote:
                yield remote
            host.terminate()


def command(remote: RemoteManager, rounds: int) -> list[float]:
    """Measure a call of a hook point whose handler does nothing."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        remote.invoke("nothing")
        seconds.append(time.perf_counter() - started)
    return seconds


def event(remote: RemoteManager, rounds: int) -> list[float]:
    """Measure from just before a plugin logs a line until a subscriber in this process receives it."""
    seconds: list[float] = []

    def hear(event: AnyEvent) -> None:
        if isinstance(event, LogWritten) and event.line.plugin == "telling":
            seconds.append(time.perf_counter() - float(event.line.text.split()[-1]))

    undo = remote.subscribe(hear)
    for _ in range(rounds):
        remote.invoke("tell", 1)
    undo()
    return seconds


def events_per_second(remote: RemoteManager, count: int) -> tuple[float, int]:
    """Return the events per second that arrive while a plugin logs in a loop, and the number missed."""
    over = threading.Event()
    numbers: list[int] = []

    def hear(event: AnyEvent) -> None:
        if isinstance(event, LogWritten) and event.line.plugin == "telling":
            numbers.append(int(event.line.text.split()[1]))
            if numbers[-1] == count - 1:
                over.set()

    undo = remote.subscribe(hear)
    started = time.perf_counter()
    remote.invoke("tell", count)
    over.wait()
    seconds = time.perf_counter() - started
    undo()
    return len(numbers) / seconds, count - len(numbers)
