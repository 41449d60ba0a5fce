"""The host process: loads plugins on its main thread, opens a socket for clients, ends with its console."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import functools
import logging
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Final, NoReturn, TypeAlias

from hotload_tui import HookHost, HotloadManager, follow_config, load_config
from hotload_tui.core.config import Config
from hotload_tui.core.errors import HotloadError
from hotload_tui.core.events import EVENT_LOGGER, AnyEvent, PluginLoaded
from hotload_tui.core.primitives import Event, Lock, Thread, get_ident, monotonic, sleep
from hotload_tui.core.runtime.naming import identifier
from hotload_tui.core.runtime.threads import MainTrials
from hotload_tui.remote.process.blame import BEAT, CRASH, CUT_OFF, HANG, Breadcrumbs
from hotload_tui.remote.process.debug import Breakpoints
from hotload_tui.remote.process.output import MarkedStream
from hotload_tui.remote.process.supervisor import DUMP
from hotload_tui.remote.server import serve

logger = logging.getLogger("hotload.engine")

_STREAMS: Final = (1, 2)
_EXIT: Final = os._exit  # before ``ExitDumps`` wraps it
_ARRIVAL: Final = 0.1  # seconds after which a signal to the own process has ended or stopped it
_CLOSING: Final = 1.5  # seconds that a thread may take to close descriptors and to write the dump
_STEP: Final = 0.01
_HARMLESS: Final = frozenset({signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH})


_Call: TypeAlias = Callable[..., object]  # type: ignore[explicit-any] # any parameters


class ExitDumps:
    """Dumps the stacks when Python code of this process ends the process, so that its frames name it.

    It wraps the functions that end a process, by exit or by signal, and those that close descriptors.
    """

    def __init__(self, file: Path) -> None:
        """Write the dumps to ``file``."""
        self.exit_now, self._kill = os._exit, os.kill
        self.is_terminated = False
        """Whether code of this process has sent it SIGTERM, which the host's handler receives."""
        self._file = file
        self._pid = os.getpid()
        self._needed: Collection[int] = ()
        self._closed: Callable[[], None] | None = None
        self._closing_now = set[int]()

    def install(self) -> None:
        """Wrap the functions."""
        _replace(os, "_exit", self._dumping)
        for name in ("kill", "killpg"):
            _replace(os, name, functools.partial(self._sending, has_target=True))
        for name in ("raise_signal", "pthread_kill"):
            _replace(signal, name, functools.partial(self._sending, has_target=False))
        for name in ("close", "closerange"):
            _replace(os, name, self._closing)

    def watch(self, needed: Collection[int], closed: Callable[[], None]) -> None:
        """Call ``closed`` after Python code has closed one of the descriptors ``needed``."""
        self._needed, self._closed = needed, closed

    def await_closing(self) -> None:
        """Wait for other threads that close such descriptors now: they write the dump and end the process."""
        ends_at = monotonic() + _CLOSING
        while self._closing_now - {get_ident()} and monotonic() < ends_at:
            sleep(_STEP)

    def dump(self) -> None:
        """Write the stacks of all threads, this thread marked as the current one."""
        with contextlib.suppress(OSError), self._file.open("ab") as file:
            faulthandler.dump_traceback(file, all_threads=True)

    def kill_now(self, number: int) -> None:
        """Send a signal to this process without a dump."""
        self._kill(self._pid, number)

    def _is_here(self) -> bool:
        return os.getpid() == self._pid  # else in a child process

    def _dumping(self, function: _Call) -> _Call:
        @functools.wraps(function)
        def run(*args: object, **kwargs: object) -> object:
            if self._is_here():
                self.dump()
            return function(*args, **kwargs)

        return run

    def _sending(self, function: _Call, *, has_target: bool) -> _Call:
        """Wrap a function that sends a signal to this process, or to its first argument."""
        supervisor = os.getppid()  # its death ends this process, but later
        own = {0, -1, self._pid, -self._pid}

        @functools.wraps(function)
        def send(*args: object) -> object:
            is_later = has_target and args == (supervisor, signal.SIGKILL)
            is_own = is_later or (bool(args) and (not has_target or args[0] in own))
            if not (is_own and self._is_here() and _is_deadly(args[-1])):
                return function(*args)
            self.dump()
            self.is_terminated = args[-1] == signal.SIGTERM
            is_later = is_later or self.is_terminated
            try:
                return function(*args)
            finally:
                if not is_later:
                    sleep(_ARRIVAL)  # another thread may receive the signal, and this one runs on
                    with contextlib.suppress(OSError):
                        os.truncate(self._file, 0)

        return send

    def _closing(self, function: _Call) -> _Call:
        @functools.wraps(function)
        def close(*args: object, **kwargs: object) -> object:
            closed = self._closed
            if closed is None or (len(args) == 1 and args[0] not in self._needed) or not self._is_here():
                return function(*args, **kwargs)
            thread = get_ident()
            self._closing_now.add(thread)
            try:
                result = function(*args, **kwargs)
                closed()
            finally:
                self._closing_now.discard(thread)
            return result

        return close


def _replace(module: ModuleType, name: str, wrapped: Callable[[_Call], _Call]) -> None:
    setattr(module, name, wrapped(getattr(module, name)))


def _is_deadly(number: object) -> bool:
    """Return whether a signal can end or stop this process: no code of a plugin handles it."""
    if not isinstance(number, int) or number not in signal.valid_signals() - _HARMLESS:
        return False
    handler = signal.getsignal(number)
    return handler in (signal.SIG_DFL, None) or getattr(handler, "__module__", "") == __name__


class Guard:
    """Records the heartbeat, restores the standard streams, and ends a host that lost its descriptors."""

    def __init__(
        self, crumbs: Breadcrumbs, descriptors: Iterable[int], stop: Event, exits: ExitDumps
    ) -> None:
        """Start the thread; it ends the process if one of ``descriptors`` is lost before ``stop`` is set.

        Descriptors are also checked at the end of each step, and where Python code closes some.
        """
        self._stop = stop
        self._crumbs = crumbs
        self._exits = exits
        self._lock = Lock()
        self._needed = {descriptor: _identity(descriptor) for descriptor in descriptors}
        self._copies = {stream: os.dup(stream) for stream in _STREAMS}
        self._streams = {stream: _identity(stream) for stream in _STREAMS}
        crumbs.at_end = self._check
        exits.watch(self._needed, self._closed)
        Thread(self._run, "hotload-heartbeat").start()

    def _run(self) -> None:
        while True:
            self._crumbs.beat()
            self._check()
            sleep(BEAT)

    def _check(self) -> None:
        if self._is_cut_off():
            self._exits.await_closing()
            self._exits.exit_now(CUT_OFF)
        if self._lock.acquire(blocking=False):  # else another thread repairs them
            try:
                for stream, known in self._streams.items():
                    if _identity(stream) != known:
                        self._repair(stream)
            finally:
                self._lock.release()

    def _closed(self) -> None:
        """Note whose thread has just closed descriptors that the host needs."""
        if self._is_cut_off():
            self._exits.dump()
            self._exits.exit_now(CUT_OFF)

    def _is_cut_off(self) -> bool:
        return not self._stop.is_set() and any(
            _identity(descriptor) != known for descriptor, known in self._needed.items()
        )

    def _repair(self, stream: int) -> None:
        with contextlib.suppress(OSError):
            os.dup2(self._copies[stream], stream)
        crumbs = self._crumbs.trail().crumbs
        suspect = f"while {crumbs[-1].plugin} ran" if crumbs else "the cause is unknown"
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
    stop = Event()
    _listen(options.lifeline, stop)
    _write_dumps(options.folder)
    crumbs = Breadcrumbs(options.folder)
    crumbs.beat()
    exits = ExitDumps(options.folder / CRASH)
    exits.install()
    _handle_signals(crumbs, exits, stop)
    Breakpoints(options.folder).install()
    try:
        config = load_config(
            options.config, runtime_dir=options.plugins, compiled_dir=options.compiled, given=_given(options)
        )
        _run_host(config, options, crumbs, exits, stop)
    except HotloadError as error:
        sys.stderr.write(f"{error}\n")
        _leave(error.exit_code)
    _leave(0)


def _run_host(
    config: Config,
    options: argparse.Namespace,
    crumbs: Breadcrumbs,
    exits: ExitDumps,
    stop: Event,
) -> None:
    trials = MainTrials()
    manager = HotloadManager(
        HookHost(step_observer=crumbs.step), config, trials=trials, step_observer=crumbs.step
    )
    _mark_output(config, manager)

    def note(event: AnyEvent) -> None:
        if isinstance(event, PluginLoaded):
            crumbs.went_live(event.name, event.generation, event.digest)

    manager.subscribe(note)
    events = logging.getLogger(EVENT_LOGGER)  # the console receives the events through the socket
    events.propagate = False
    events.addHandler(logging.NullHandler())
    with serve(manager, project=Path(config.runtime_dir)) as server:

        def end() -> None:
            stop.wait()
            manager.stop()  # may wait for a load on the main thread
            trials.end()

        Guard(crumbs, server.descriptors(), stop, exits)
        Thread(end, "hotload-stop").start()
        manager.start()
        if config.enable_watch:
            follow_config(
                manager,
                options.config,
                runtime_dir=options.plugins,
                compiled_dir=options.compiled,
                given=_given(options),
            )
        crumbs.ready()
        trials.serve()


def _leave(code: int) -> NoReturn:
    """Exit at once: leftovers of plugins, such as running threads, must not keep the process alive."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # foreign code: a plugin may have replaced the stream
            stream.flush()
    _EXIT(code)


def _handle_signals(crumbs: Breadcrumbs, exits: ExitDumps, stop: Event) -> None:
    """Stop the host normally on SIGTERM, and ignore SIGINT.

    A SIGTERM that code of the host sent, or that arrives during a plugin's step, kills the host at once: the
    console finds the dump or the step.
    """

    def terminate(number: int, _frame: FrameType | None) -> None:
        if exits.is_terminated or crumbs.trail().crumbs:
            signal.signal(number, signal.SIG_DFL)
            exits.kill_now(number)
        stop.set()

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _listen(lifeline: int, stop: Event) -> None:
    """Set ``stop`` when ``lifeline`` delivers a byte or its other end is closed."""

    def watch() -> None:
        with contextlib.suppress(OSError):  # a plugin closed the descriptor
            os.read(lifeline, 1)
            stop.set()

    os.set_inheritable(lifeline, False)
    Thread(watch, "hotload-lifeline").start()


def _write_dumps(folder: Path) -> None:
    """Write the stacks of all threads to ``CRASH`` on a crash, and to ``HANG`` on the signal ``DUMP``."""
    faulthandler.enable((folder / CRASH).open("ab"), all_threads=True)
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


_SETTINGS: Final = ("entry", "register", "files")
"""The settings that an option of the same name sets."""


def _given(options: argparse.Namespace) -> dict[str, object]:
    found: dict[str, object] = vars(options)
    return {name: found[name] for name in _SETTINGS if found[name] is not None}


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    for name in ("--plugins", "--compiled", "--config"):
        parser.add_argument(name, type=Path)
    for name in _SETTINGS[:-1]:
        parser.add_argument(f"--{name}")
    parser.add_argument("--files", action=argparse.BooleanOptionalAction)
    parser.add_argument("lifeline", type=int)
    return parser


if __name__ == "__main__":
    main()
