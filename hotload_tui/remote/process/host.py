"""The host process: loads plugins on its main thread, opens a socket for clients, ends with its console."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from hotload_tui import HookHost, HotloadManager, follow_config, load_config
from hotload_tui.core.config import Config
from hotload_tui.core.errors import HotloadError
from hotload_tui.core.events import EVENT_LOGGER
from hotload_tui.core.runtime.naming import identifier
from hotload_tui.core.runtime.threads import MainTrials
from hotload_tui.remote.process.blame import (
    AFTERMATH,
    BEAT,
    CRASH,
    CUT_OFF,
    CUT_OFF_SEEN,
    HANG,
    TRAIL,
    Breadcrumbs,
    recent,
)
from hotload_tui.remote.process.debug import Breakpoints
from hotload_tui.remote.process.output import MarkedStream
from hotload_tui.remote.process.supervisor import DUMP
from hotload_tui.remote.server import serve

logger = logging.getLogger("hotload.engine")

_STREAMS: Final = (1, 2)


class Guard:
    """Records the heartbeat, restores the standard streams, and ends a host that lost its descriptors."""

    def __init__(self, crumbs: Breadcrumbs, descriptors: Iterable[int], stop: threading.Event) -> None:
        """Start the thread; it ends the process if one of ``descriptors`` is lost before ``stop`` is set."""
        self._stop = stop
        self._crumbs = crumbs
        self._needed = {descriptor: _identity(descriptor) for descriptor in descriptors}
        self._copies = {stream: os.dup(stream) for stream in _STREAMS}
        self._streams = {stream: _identity(stream) for stream in _STREAMS}
        threading.Thread(target=self._run, name="hotload-heartbeat", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._crumbs.beat()
            if not self._stop.is_set() and any(
                _identity(descriptor) != known for descriptor, known in self._needed.items()
            ):
                os._exit(CUT_OFF)
            for stream, known in self._streams.items():
                if _identity(stream) != known:
                    self._repair(stream)
            time.sleep(BEAT)

    def _repair(self, stream: int) -> None:
        with contextlib.suppress(OSError):
            os.dup2(self._copies[stream], stream)
        crumb = recent(self._crumbs.trail(), time.monotonic() - CUT_OFF_SEEN)
        suspect = f"while {crumb.plugin} ran" if crumb else "the cause is unknown"
        logger.warning("descriptor %d of the host was closed or replaced (%s); repaired", stream, suspect)


def _identity(descriptor: int) -> tuple[int, int]:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return (-1, -1)
    return status.st_dev, status.st_ino


def main() -> NoReturn:
    """Run the host until the lifeline or SIGTERM stops it."""
    options = _options().parse_args()
    stop = threading.Event()
    _listen(options.lifeline, stop)
    _write_dumps(options.folder)
    crumbs = Breadcrumbs(options.folder / TRAIL)
    crumbs.beat()
    _handle_signals(crumbs, stop)
    Breakpoints(options.folder).install()
    try:
        config = load_config(options.config, runtime_dir=options.plugins, compiled_dir=options.compiled)
        _run_host(config, options, crumbs, stop)
    except HotloadError as error:
        sys.stderr.write(f"{error}\n")
        _leave(error.exit_code)
    _leave(0)


def _run_host(
    config: Config, options: argparse.Namespace, crumbs: Breadcrumbs, stop: threading.Event
) -> None:
    trials = MainTrials()
    manager = HotloadManager(
        HookHost(step_observer=crumbs.step), config, trials=trials, step_observer=crumbs.step
    )
    _mark_output(config, manager)
    events = logging.getLogger(EVENT_LOGGER)  # the console receives the events through the socket
    events.propagate = False
    events.addHandler(logging.NullHandler())
    with serve(manager, project=Path(config.runtime_dir)) as server:

        def end() -> None:
            stop.wait()
            manager.stop()  # may wait for a load on the main thread
            trials.end()

        Guard(crumbs, server.descriptors(), stop)
        threading.Thread(target=end, name="hotload-stop", daemon=True).start()
        manager.start()
        if config.enable_watch:
            follow_config(manager, options.config, runtime_dir=options.plugins, compiled_dir=options.compiled)
        crumbs.ready()
        trials.serve()


def _leave(code: int) -> NoReturn:
    """Exit at once: leftovers of plugins, such as running threads, must not keep the process alive."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # foreign code: a plugin may have replaced the stream
            stream.flush()
    os._exit(code)


def _handle_signals(crumbs: Breadcrumbs, stop: threading.Event) -> None:
    """Stop the host normally on SIGTERM, and ignore SIGINT.

    A SIGTERM during a plugin's step, or up to ``AFTERMATH`` later, counts as sent by the plugin and kills the
    host.
    """

    def terminate(number: int, _frame: FrameType | None) -> None:
        if crumb := recent(crumbs.trail(), time.monotonic() - AFTERMATH):
            crumbs.reopen(crumb)  # the console may see the death only after AFTERMATH
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        stop.set()

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _listen(lifeline: int, stop: threading.Event) -> None:
    """Set ``stop`` when ``lifeline`` delivers a byte or its other end is closed."""

    def watch() -> None:
        with contextlib.suppress(OSError):  # a plugin closed the descriptor
            os.read(lifeline, 1)
            stop.set()

    os.set_inheritable(lifeline, False)
    threading.Thread(target=watch, name="hotload-lifeline", daemon=True).start()


def _write_dumps(folder: Path) -> None:
    """Write the stacks of all threads to ``CRASH`` on a crash, and to ``HANG`` on the signal ``DUMP``."""
    faulthandler.enable((folder / CRASH).open("wb"), all_threads=True)
    faulthandler.register(DUMP, (folder / HANG).open("wb"), all_threads=True)


def _mark_output(config: Config, manager: HotloadManager) -> None:
    """Mark each line that a plugin prints with the plugin's name."""
    names: dict[str, str] = {}

    def plugin_of(module: str) -> str:
        package, _, rest = module.partition(".")
        if package != config.module_path:
            return ""
        short = rest.partition(".")[0]
        if short not in names:
            names.update({identifier(one.name): one.name for one in manager.snapshot().plugins})
        return names.get(short, short)

    sys.stdout = MarkedStream(1, plugin_of)
    sys.stderr = MarkedStream(2, plugin_of)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    for name in ("--plugins", "--compiled", "--config"):
        parser.add_argument(name, type=Path)
    parser.add_argument("lifeline", type=int)
    return parser


if __name__ == "__main__":
    main()
