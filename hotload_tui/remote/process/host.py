"""The host process: loads plugins on its main thread, serves them on a socket, ends with its supervisor."""

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
from pathlib import Path
from types import FrameType
from typing import NoReturn

from hotload_tui import HookHost, HotloadManager, follow_config, load_config
from hotload_tui.core.config import Config
from hotload_tui.core.errors import HotloadError
from hotload_tui.core.generation import identifier
from hotload_tui.core.loader import MainTrials
from hotload_tui.core.log import EVENT_LOGGER
from hotload_tui.remote.process.breadcrumbs import CRASH, HANG, TRAIL, Breadcrumbs
from hotload_tui.remote.process.debugging import Breakpoints
from hotload_tui.remote.process.guard import Guard
from hotload_tui.remote.process.inquest import AFTERMATH, recent
from hotload_tui.remote.process.output import MarkedStream
from hotload_tui.remote.process.supervisor import DUMP
from hotload_tui.remote.server import serve


def main() -> NoReturn:
    """Serve until the supervisor, or whoever else, asks for the end."""
    options = _options().parse_args()
    stop = threading.Event()
    _listen(options.lifeline, stop)
    _write_dumps(options.folder)
    crumbs = Breadcrumbs(options.folder / TRAIL)
    crumbs.beat()
    _hear_signals(crumbs, stop)
    Breakpoints(options.folder).install()
    try:
        config = load_config(options.config, runtime_dir=options.plugins, compiled_dir=options.compiled)
        _serve(config, options, crumbs, stop)
    except HotloadError as error:
        sys.stderr.write(f"{error}\n")
        _leave(error.exit_code)
    _leave(0)


def _serve(config: Config, options: argparse.Namespace, crumbs: Breadcrumbs, stop: threading.Event) -> None:
    trials = MainTrials()
    manager = HotloadManager(HookHost(witness=crumbs.step), config, trials=trials, witness=crumbs.step)
    _mark_output(config, manager)
    events = logging.getLogger(EVENT_LOGGER)  # the console has them by another way
    events.propagate = False
    events.addHandler(logging.NullHandler())
    with serve(manager, project=Path(config.runtime_dir)) as server:

        def end() -> None:
            stop.wait()
            manager.stop()  # which may have to wait for a load on the main thread
            trials.end()

        Guard(crumbs, server.descriptors(), stop)
        threading.Thread(target=end, name="hotload-stop", daemon=True).start()
        manager.start()
        if config.enable_watch:
            follow_config(manager, options.config, runtime_dir=options.plugins, compiled_dir=options.compiled)
        crumbs.ready()
        trials.serve()


def _leave(code: int) -> NoReturn:
    """End at once: what plugins left running, threads for instance, must not keep the process."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # foreign code: a plugin may have put anything there
            stream.flush()
    os._exit(code)


def _hear_signals(crumbs: Breadcrumbs, stop: threading.Event) -> None:
    """Stop in order on SIGTERM; but one that comes while a plugin's code runs is that plugin's, and kills."""

    def terminate(number: int, _frame: FrameType | None) -> None:
        if recent(crumbs.trail(), time.monotonic() - AFTERMATH):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        stop.set()

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _listen(lifeline: int, stop: threading.Event) -> None:
    """Stop when ``lifeline`` says so, or nobody holds its other end any more."""

    def watch() -> None:
        with contextlib.suppress(OSError):  # a plugin closed the descriptor
            os.read(lifeline, 1)
            stop.set()

    os.set_inheritable(lifeline, False)
    threading.Thread(target=watch, name="hotload-lifeline", daemon=True).start()


def _write_dumps(folder: Path) -> None:
    """Have the stacks written to a file on a crash, and to another one when the console asks for it."""
    faulthandler.enable((folder / CRASH).open("wb"), all_threads=True)
    faulthandler.register(DUMP, (folder / HANG).open("wb"), all_threads=True)


def _mark_output(config: Config, manager: HotloadManager) -> None:
    """Have what plugins print carry their names."""
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
