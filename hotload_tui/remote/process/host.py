"""The host process: loads plugins on its main thread, serves them on a socket, ends with its supervisor."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import faulthandler
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from hotload_tui import HookHost, HotloadManager, load_config
from hotload_tui.core.config import Config
from hotload_tui.core.errors import HotloadError
from hotload_tui.core.generation import identifier
from hotload_tui.core.loader import MainTrials
from hotload_tui.core.log import EVENT_LOGGER
from hotload_tui.remote.process.breadcrumbs import CRASH, HANG, TRAIL, Breadcrumbs
from hotload_tui.remote.process.output import MarkedStream
from hotload_tui.remote.process.supervisor import DUMP
from hotload_tui.remote.server import serve

_DIE_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG of Linux


def main() -> NoReturn:
    """Serve until the supervisor, or whoever else, sends SIGTERM."""
    options = _options().parse_args()
    _end_with_supervisor(options.lifeline)
    stop = _stop_request()
    _write_dumps(options.folder)
    crumbs = Breadcrumbs(options.folder / TRAIL)
    crumbs.start()
    try:
        config = load_config(options.config, runtime_dir=options.plugins, compiled_dir=options.compiled)
        _serve(config, crumbs, stop)
    except HotloadError as error:
        sys.stderr.write(f"{error}\n")
        _leave(error.exit_code)
    _leave(0)


def _serve(config: Config, crumbs: Breadcrumbs, stop: Callable[[], None]) -> None:
    trials = MainTrials()
    manager = HotloadManager(HookHost(witness=crumbs.step), config, trials=trials, witness=crumbs.step)
    _mark_output(config, manager)
    events = logging.getLogger(EVENT_LOGGER)  # the console has them by another way
    events.propagate = False
    events.addHandler(logging.NullHandler())
    with serve(manager, project=Path(config.runtime_dir)):

        def end() -> None:
            stop()
            manager.stop()  # which may have to wait for a load on the main thread
            trials.end()

        manager.start()
        crumbs.ready()
        threading.Thread(target=end, name="hotload-stop", daemon=True).start()
        trials.serve()


def _leave(code: int) -> NoReturn:
    """End at once: what plugins left running, threads for instance, must not keep the process."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # foreign code: a plugin may have put anything there
            stream.flush()
    os._exit(code)


def _stop_request() -> Callable[[], None]:
    """Hear SIGTERM; the function that is returned waits for it. Before that it ends the process at once."""
    receiver, sender = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: os.write(sender, b"\0") and None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        os.read(receiver, 1)

    return wait


def _end_with_supervisor(lifeline: int) -> None:
    """End, with all that plugins have started, when the other end of ``lifeline`` is closed.

    Where the system offers it, the kernel ends even a process whose interpreter is stuck.
    """
    parent = os.getppid()
    with contextlib.suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:  # it died just before that
        os._exit(1)

    def watch() -> None:
        with contextlib.suppress(OSError):  # a plugin closed the descriptor
            while os.read(lifeline, 1):
                pass
            os.killpg(0, signal.SIGKILL)

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
