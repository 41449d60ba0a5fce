"""Commands that keep plugins running: the console, ``run`` without one or with a program, and ``attach``."""

from __future__ import annotations

import builtins
import contextlib
import io
import logging
import os
import runpy
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple, Unpack

import click
from msgspec import structs

from hotload_tui.cli import output
from hotload_tui.cli.report import folder, log_line
from hotload_tui.cli.scope import Scope, command, for_audience
from hotload_tui.core.config_files import FILE_NAME
from hotload_tui.core.errors import INTERRUPTED, HotloadError, UsageError
from hotload_tui.core.events import AnyEvent, LogWritten
from hotload_tui.core.primitives import Event, Thread
from hotload_tui.tui.terminal import hold_off, is_drawn_elsewhere, leave_within, quickened

if TYPE_CHECKING:
    from hotload_tui import HotloadManager, ManagerApi
    from hotload_tui.core.config import Config
    from hotload_tui.core.runtime.threads import MainTrials
    from hotload_tui.remote import Server
    from hotload_tui.tui.actions import HostControls
    from hotload_tui.tui.tour import Tour

GRACE: Final = 1.6  # seconds for a normal end: a process manager expects it within 2


_STOPS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class StopRequest:
    """Waits for a request to stop, and ends the process if the stop takes too long."""

    def __init__(self) -> None:
        self._receiver, self.sender = socket.socketpair()
        self.sender.setblocking(False)  # a wake-up descriptor must not block
        self._stopping = Event()
        self._code = 0
        Thread(self._watch, "hotload-stop").start()

    def request(self) -> None:
        """Request a stop, as SIGTERM does."""
        with contextlib.suppress(BlockingIOError):  # full: other requests are already pending
            self.sender.send(bytes([signal.SIGTERM]))

    def wait(self) -> int:
        """Wait for a request to stop, and return the exit code."""
        self._stopping.wait()
        return self._code

    def _watch(self) -> None:
        number = 0
        while number not in _STOPS:
            number = self._receiver.recv(1)[0]
        self._code = INTERRUPTED if number == signal.SIGINT else 0
        text = "a plugin did not stop in time; leaving without it"
        leave_within(GRACE, self._code, lambda: output.narrate(text))
        self._stopping.set()


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM and SIGHUP into a request to stop; the process then has 1.6 s to end.

    ``nohup`` makes the process ignore SIGHUP, and it then goes on.

    The interpreter writes a signal's number to a descriptor even while a plugin hangs on the main thread. The
    plugin could catch an exception that is raised there.
    """
    stop = StopRequest()
    previous = signal.set_wakeup_fd(stop.sender.fileno(), warn_on_full_buffer=False)
    for number in _STOPS:
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _noted)
    try:
        yield stop
    finally:
        # The handlers stay: the process is about to end, and a second Ctrl-C must not interrupt it.
        signal.set_wakeup_fd(previous)


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the descriptor has already reported the signal."""


@command(host=True)
@for_audience
@click.argument("socket", required=False, type=click.Path(path_type=Path))
def attach(scope: Scope, *, socket: Path | None, presents: bool) -> int:
    """Open the console on the running host, or on the host at SOCKET; the host outlives the console."""
    _need_terminal("'hotload status' and 'hotload logs -f' need none")
    if socket is not None and scope.host is not None:
        raise UsageError("--host and SOCKET both choose the host: leave one of them out")
    hold_off()  # no plugin runs in this process
    from hotload_tui.remote import RemoteManager  # not imported for --help

    config = scope.settings(of_host=True)
    with RemoteManager(socket) if socket else scope.reach_running("attach", config) as remote:
        runtime_dir = Path(remote.snapshot().host.runtime_dir)
        project = Path.cwd() if runtime_dir.is_relative_to(Path.cwd()) else runtime_dir.parent
        # The program at SOCKET has its own settings.
        host: HostControls = {} if socket else {"settings": scope.read}
        code = _console(remote, config, scope, project=project, show=Show(presents), **host)
        leave_within(GRACE, code)
    return code


@command(host=False)
@click.option("--speed", type=click.FloatRange(0.1, 100), default=1.0, help="2 is twice as fast.")
@click.option("--step", "in_steps", is_flag=True, help="Wait for the space bar after each step.")
def demo(scope: Scope, *, speed: float, in_steps: bool) -> int:
    """Show hotload at work: a tour edits plugins in a temporary project. --plugins DIR uses a copy of DIR.

    The space bar goes on to the next step, and q ends the tour. The project is removed at the end.
    """
    _need_terminal("'hotload new' makes a plugin without one")
    from hotload_tui.tui.tour import PLUGINS, Tour, demo_project  # not imported for --help

    settings = scope.config or Path(FILE_NAME)
    has_settings = scope.config is not None or (scope.plugins is not None and settings.is_file())
    with (
        demo_project(scope.plugins, settings if has_settings else None) as project,
        contextlib.chdir(project),
    ):
        # The state of the console and the modules of the project belong to the project.
        os.environ["XDG_STATE_HOME"] = str(project.parent)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(project), os.environ.get("PYTHONPATH"))))
        own = structs.replace(
            scope,
            plugins=Path(PLUGINS),
            compiled=Path("compiled"),
            config=Path(settings.name) if has_settings else None,
        )
        show = Show(
            presents=True,
            tour=lambda api: Tour(api, speed=speed, in_steps=in_steps),
            ended=lambda: shutil.rmtree(project.parent, ignore_errors=True),
        )
        return open_console(own, show)


def _need_terminal(instead: str) -> None:
    """Refuse to open the console where it cannot be drawn; ``instead`` names commands that need no terminal.

    Raises:
        UsageError: there is no terminal, or its cursor cannot be moved (``TERM`` is ``dumb`` or ``unknown``).

    """
    if is_drawn_elsewhere():
        return
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty()):
        raise UsageError(f"the console needs a terminal; {instead}")
    if os.environ.get("TERM") in ("dumb", "unknown"):
        raise UsageError(
            "the console needs a terminal that can move its cursor, and TERM says that this one cannot;"
            " 'hotload run', 'hotload status' and 'hotload logs -f' need none"
        )


logger = logging.getLogger("hotload.engine")


class Show(NamedTuple):
    """How the console shows itself."""

    presents: bool = False
    """Whether it is for an audience."""
    tour: Callable[[ManagerApi], Tour] | None = None
    ended: Callable[[], None] = lambda: None
    """Called once the plugins are unloaded; after a hang-up there is no time for more."""


def open_console(scope: Scope, show: Show = Show()) -> int:  # noqa: B008 - a constant
    """Run the console, with the plugins in a separate host process."""
    scope.refuse_host("hotload")
    _need_terminal("'hotload run' runs plugins without one")
    config = scope.settings()
    if not hasattr(os, "fork"):  # without fork the plugins run in the console's process
        from hotload_tui import HookHost, HotloadManager  # not imported for --help

        inside = HotloadManager(HookHost(), config)
        return _console(
            inside, config, scope, show=show, start=inside.start, stop=inside.stop, settings=scope.read
        )
    hold_off()  # no plugin runs in this process
    from hotload_tui.remote.process import HostedManager  # not imported for --help

    hosted = HostedManager(config, scope.as_arguments())

    def close() -> None:
        hosted.close()
        show.ended()

    hosted.open()  # before the import of the console, so that the host starts meanwhile
    try:
        return _console(
            hosted,
            config,
            scope,
            show=show,
            settings=scope.read,
            start=hosted.wait_until_ready,
            stop=close,
            restart=hosted.restart,
            debug=hosted.debug,
        )
    finally:
        hosted.close()


def open_in_browser(scope: Scope) -> int:
    """Run the plugins in a host process, and show the console in a browser until a signal arrives."""
    scope.refuse_host("hotload --web")
    if not hasattr(os, "fork"):
        raise UsageError("--web: the plugins need a process of their own, and this system cannot fork one")
    config = scope.settings()
    try:
        from hotload_tui.tui.web import Page  # needs the extra
    except ImportError as error:
        text = f"--web: {error.name} is not installed: pip install 'hotload-tui[web]'"
        raise UsageError(text) from None
    from hotload_tui.remote import serve  # as above
    from hotload_tui.remote.process import HostedManager

    with contextlib.ExitStack() as ending:
        hosted = HostedManager(config, scope.as_arguments())
        ending.callback(hosted.close)
        hosted.open()
        hosted.wait_until_ready()
        # The consoles reach the host through this process, also when a crash has replaced it. Other commands
        # look for the plugins' folder and reach the host itself.
        own = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="hotload-web-")))
        server = ending.enter_context(serve(hosted, project=own))
        page = Page(server.socket)
        page.run(lambda: output.narrate(f"{page.address}  (whoever knows this address controls the console)"))
    return 0


def _console(
    api: ManagerApi,
    config: Config,
    scope: Scope,
    *,
    project: Path | None = None,
    show: Show = Show(),  # noqa: B008 - a constant
    **host: Unpack[HostControls],
) -> int:
    with quickened():
        from hotload_tui.tui.app import ConsoleApp  # takes 200 ms, only for the console
    from hotload_tui.tui.keys import check_keys
    from hotload_tui.tui.terminal import give_size

    check_keys(config.keys, str(scope.config or FILE_NAME))
    give_size()
    tour = show.tour(api) if show.tour else None
    app = ConsoleApp(
        api, project=project or Path.cwd(), keys=config.keys, presents=show.presents, tour=tour, **host
    )
    app.run()
    return app.return_code or 0


class _WithProgram(click.Command):
    """A command whose options come before its arguments, because the others are those of a program."""

    allow_interspersed_args = False


@command(_WithProgram, host=False)
@click.option("--json", "as_json", is_flag=True, help="Print each event as one line of JSON.")
@click.option("-m", "is_module", is_flag=True, help="PROGRAM is a module, as in 'python -m'.")
@click.argument("program", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(
    scope: Scope, *, as_json: bool, is_module: bool, program: str | None, arguments: tuple[str, ...]
) -> int:
    """Load the plugins, watch them and run until interrupted, or until PROGRAM ends.

    The log goes to standard error. A program runs in the same process, as 'python PROGRAM ARGUMENTS' does.
    """
    if program is None:
        if is_module:
            raise UsageError("-m: name the module to run")
        return _run_host(scope, as_json=as_json)
    if as_json:
        raise UsageError("--json: standard output belongs to the program; leave --json out")
    return _run_program(scope, Program(program, arguments, is_module))


def _run_program(scope: Scope, program: Program) -> int:
    from hotload_tui import HookHost, HotloadManager  # not imported for --help
    from hotload_tui.core.hooks.host import running

    program.check()
    config = scope.settings()
    host = HookHost()
    manager = HotloadManager(host, config)
    with contextlib.ExitStack() as ending:
        manager.subscribe(_narrate)
        manager.scan()  # raises for a missing folder
        ending.callback(manager.stop)
        manager.start()
        if config.enable_watch:
            ending.callback(scope.follow(manager))
        server = _socket_server(manager, Path(config.runtime_dir))
        if server is not None:
            ending.callback(server.close)
        ending.enter_context(running(host))
        return program.run()


def _narrate(event: AnyEvent) -> None:
    if isinstance(event, LogWritten):
        output.narrate(log_line(event.line))


def _run_host(scope: Scope, *, as_json: bool) -> int:
    from hotload_tui import HookHost, HotloadManager  # not imported for --help
    from hotload_tui.core.runtime.threads import MainTrials

    config = scope.settings()
    data = output.take_standard()
    # The process exists for its plugins, so they load on its main thread, where a signal ends a hang.
    trials = MainTrials() if hasattr(signal, "setitimer") else None
    manager = HotloadManager(HookHost(), config, trials=trials)
    with stop_request() as stop, contextlib.ExitStack() as ending:

        def report(event: AnyEvent) -> None:
            if as_json:
                if not data.record(event):
                    stop.request()  # the reader has left
            else:
                _narrate(event)

        if as_json:
            data.when_reader_leaves(stop.request)
        manager.subscribe(report)
        manager.scan()  # raises for a missing folder; a console waits for it
        ending.callback(manager.stop)
        manager.start()
        if config.enable_watch:
            scope.follow(manager)
        server = _socket_server(manager, Path(config.runtime_dir))
        if server is not None:
            ending.callback(server.close)
        output.narrate(f"host {os.getpid()} runs {folder(config.runtime_dir)}; Ctrl-C stops it")
        if trials is not None:
            _load_until_end(trials, stop, manager)
        return stop.wait()


def _load_until_end(trials: MainTrials, stop: StopRequest, manager: HotloadManager) -> None:
    """Run loads on the main thread until a stop is requested and the manager has stopped."""

    def end() -> None:
        stop.wait()
        manager.stop()  # in a thread, because it may wait for a load
        trials.end()

    Thread(end, "hotload-end").start()
    trials.serve()


def _socket_server(manager: HotloadManager, runtime_dir: Path) -> Server | None:
    """Let other commands reach the host; without a socket it works, too, and the log has the reason."""
    from hotload_tui.remote import serve  # not imported for --help

    if not hasattr(socket, "AF_UNIX"):
        return None
    try:
        return serve(manager, project=runtime_dir)
    except HotloadError as error:
        logger.warning("other commands cannot reach this host: %s", error)
        return None


_OWN_FILES: Final = frozenset({__file__, runpy.run_module.__code__.co_filename})
"""The files of the frames above a program."""


class Program(NamedTuple):
    """A program and its arguments."""

    name: str
    """The path of the file, or the name of the module."""
    arguments: tuple[str, ...] = ()
    is_module: bool = False
    """Whether ``name`` is the name of a module, as after ``python -m``."""

    def check(self) -> None:
        """Raise ``UsageError`` if there is no such file."""
        if not self.is_module and not Path(self.name).is_file():
            raise UsageError(f"no program {self.name}: name a Python file, or a module with -m MODULE")

    def run(self) -> int:
        """Run the program on this thread until it and its non-daemon threads end; return its exit code.

        An error that the program does not catch is printed as the interpreter prints it.
        """
        try:
            self._execute()
        except SystemExit as end:
            return _code(end.code)
        except Exception as error:  # foreign code: the program, whose errors are its own
            trace = _below(error.__traceback__)
            sys.excepthook(type(error), error.with_traceback(trace), trace)
            return 1
        finally:
            _join(threading.enumerate())
        return 0

    def _execute(self) -> None:
        sys.argv = [self.name, *self.arguments]
        if self.is_module:
            sys.path.insert(0, str(Path.cwd()))
            runpy.run_module(self.name, run_name="__main__", alter_sys=True)
            return
        path = str(Path(self.name).absolute())
        sys.path.insert(0, str(Path(path).parent))
        # Not runpy: it removes the module at the end, but threads and exit functions may still need it.
        main = ModuleType("__main__")
        loader = SourceFileLoader("__main__", path)
        main.__dict__.update(__builtins__=builtins, __file__=path, __loader__=loader, __cached__=None)
        sys.modules["__main__"] = main
        with io.open_code(path) as file:
            code = compile(file.read(), path, "exec", dont_inherit=True)
        exec(code, main.__dict__)  # noqa: S102 - the program is to run


def _code(value: object) -> int:
    """Return the exit code for the argument of ``sys.exit``, as the interpreter does."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    sys.stderr.write(f"{value}\n")
    return 1


def _below(trace: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback below the frames of this file and of ``runpy``."""
    inner = trace
    while inner is not None and inner.tb_frame.f_code.co_filename in _OWN_FILES:
        inner = inner.tb_next
    return inner


def _join(threads: Sequence[threading.Thread]) -> None:
    """Wait for the threads for which the interpreter would wait."""
    for thread in threads:
        if not thread.daemon and thread not in (threading.main_thread(), threading.current_thread()):
            thread.join()
