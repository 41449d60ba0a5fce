"""The console's terminal and process: signals, size, frame rate, garbage collection, ASCII fallback.

Call ``hold_off`` only in a process in which no plugin runs: where plugins run, the collector must find their
garbage.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from textual.app import App

_NAME: Final = "TEXTUAL_FPS"


@contextmanager
def quickened() -> Iterator[None]:
    """Set Textual's frame rate to 120 per second; the caller imports Textual inside this context.

    Textual then paints the effect of a key at its next check, every 8 ms instead of every 17 ms. A frame rate
    that the user has set stays in force. An idle console is painted no more often than before.
    """
    if _NAME in os.environ:
        yield
        return
    os.environ[_NAME] = "120"
    try:
        yield
    finally:
        del os.environ[_NAME]  # plugins and editors must not inherit it


_is_held_off = threading.Event()


def hold_off() -> None:
    """Disable the garbage collector until ``settle``: the import of modules creates hardly any garbage."""
    _is_held_off.set()
    gc.disable()


def settle() -> None:
    """Enable the collector again and exclude all present objects from it; do nothing without ``hold_off``.

    A collection over a thousand rows and all modules stops the screen for a tenth of a second and finds
    almost nothing: Python frees most objects when their last reference goes.
    """
    if _is_held_off.is_set():
        _is_held_off.clear()
        gc.freeze()
        gc.enable()


_SHAPES: Final = {
    **dict.fromkeys("─━┄┅┈┉╌╍═╴╶╸╺╼╾\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),  # \u: dashes
    **dict.fromkeys("│┃┆┇┊┋╎╏║╵╷╹╻╽╿▏▎▍▌▋▊▉▐▕", "|"),
    **dict.fromkeys("▁▂", "."),
    **dict.fromkeys("▃▄", ":"),
    **dict.fromkeys("▅▆▀▔", "="),
    **dict.fromkeys("▇█░▒▓", "#"),
    **dict.fromkeys("…→⇒▶►≥", ">"),
    **dict.fromkeys("←⇐⏎↵◀◄≤", "<"),
    **dict.fromkeys("\u2018\u2019\u201a\u2032", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u2033", '"'),
    **dict.fromkeys("•●·∙", "*"),
    **dict.fromkeys("\u00d7", "x"),
    **dict.fromkeys("↑▴▲", "^"),
    **dict.fromkeys("↓▾▼", "v"),
    "µ": "u",
}
_LINES: Final = range(0x2500, 0x2580)


class _Ascii(dict[int, str]):
    """The ASCII text for each character, by code point; it takes as many cells as the character."""

    def __missing__(self, number: int) -> str:
        self[number] = found = _ascii(chr(number))
        return found


ASCII: Final[Mapping[int, str]] = _Ascii()
"""The table for ``str.translate``; ASCII, with its control characters, stays unchanged."""


def speaks_utf8(environment: Mapping[str, str]) -> bool:
    """Return whether the terminal can show UTF-8; without a locale in ``environment``, assume that it can.

    As in POSIX, the first of ``LC_ALL``, ``LC_CTYPE`` and ``LANG`` that is set decides.
    """
    names = (environment.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    wanted = next(filter(None, names), "")
    language, _, rest = wanted.partition("@")[0].partition(".")
    coding = rest or language  # macOS has a locale named UTF-8
    return not wanted or coding.replace("-", "").casefold() == "utf8"


def _ascii(character: str) -> str:
    if character.isascii():
        return character
    if character in _SHAPES:
        return _SHAPES[character]
    if ord(character) in _LINES:
        return "+"
    from rich.cells import get_character_cell_size  # a host without a console does not need rich

    cells = get_character_cell_size(character)
    letters = "".join(filter(str.isascii, unicodedata.normalize("NFKD", character)))
    return letters if len(letters) == cells else "?" * cells


CODES: Final[Mapping[str, int]] = {"SIGTERM": 0, "SIGHUP": 0, "SIGINT": 130}
"""The signals that end the console, with the exit code of each.

``hotload run`` exits with the same codes on SIGTERM and SIGINT.
"""

_SIZE: Final = (24, 80)
"""Rows and columns to use for a terminal that reports none."""


def handle_signals(end: Callable[[int], None], limit: float) -> Callable[[], None]:
    """Call ``end`` with an exit code when one of the signals in ``CODES`` arrives, or the terminal is gone.

    ``limit`` seconds later, the process exits in any case. The event loop's own signal handlers would not run
    while the thread waits for a terminal that is gone. Outside the main thread no signal is
    registered.

    Returns:
        A function that restores the previous signal handlers.

    """
    import asyncio  # the console has already imported it; a host without a console does not need it

    loop = asyncio.get_running_loop()
    previous: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def leave(code: int) -> None:
        leave_within(limit, code)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the console is leaving already
            loop.call_soon_threadsafe(end, code)

    def on_signal(number: int, _frame: FrameType | None) -> None:
        leave(CODES[signal.Signals(number).name])

    stop_watching = _watch_for_hangup(lambda: leave(CODES["SIGHUP"]))

    def give_back() -> None:
        stop_watching()
        for number, handler in previous.items():
            if signal.getsignal(number) is on_signal:  # else a plugin has replaced the handler
                signal.signal(number, handler)

    with contextlib.suppress(ValueError):  # not the main thread
        for name in CODES:
            if hasattr(signal, name):
                number = getattr(signal, name)
                previous[number] = signal.signal(number, on_signal)
    return give_back


def _watch_for_hangup(leave: Callable[[], None]) -> Callable[[], None]:
    """Call ``leave`` in a thread when the terminal is gone; return a function that ends the watch.

    The kernel sends SIGHUP to the session's leader only. A shell passes it on, but ``make run`` in a window
    of its own does not, and Textual would read the end of the file again and again.
    """
    if not (hasattr(select, "poll") and sys.__stdin__ and sys.__stdin__.isatty()):
        return lambda: None
    terminal = sys.__stdin__.fileno()
    stop, stopper = os.pipe()
    poll = select.poll()
    for descriptor in (terminal, stop):
        poll.register(descriptor, 0)  # 0: only a hang-up or an error

    def watch() -> None:
        gone = {descriptor for descriptor, _ in poll.poll()}
        os.close(stop)
        if stop not in gone:
            leave()

    threading.Thread(target=watch, name="hotload-hangup", daemon=True).start()
    return lambda: os.close(stopper)


@contextlib.contextmanager
def lent_terminal(app: App[None]) -> Iterator[None]:
    """Suspend the console and lend its terminal to another program.

    Text that plugins print still goes to the log, not to the other program's screen. ``batch_update`` stops
    repaints, which would fill the writer's queue while no thread empties it.
    """
    out, err = sys.stdout, sys.stderr
    failure: BaseException | None = None
    with app.suspend(), app.batch_update(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            yield
        except BaseException as error:  # inside suspend(), Textual would not take the terminal back
            failure = error
    if failure is not None:
        raise failure


def has_shell() -> bool:
    """Return whether a shell can continue this job: a process in its session's first group has no shell."""
    try:
        return os.getpgrp() != os.getsid(0)
    except AttributeError:  # not on every system
        return False


def stop_job() -> None:
    """Stop the whole job until its shell continues it: the job may have begun with a program such as make."""
    # Textual's own SIGCONT handler would also start to draw, perhaps a moment after the caller.
    previous = signal.signal(signal.SIGCONT, signal.SIG_IGN)
    os.killpg(0, signal.SIGSTOP)
    signal.signal(signal.SIGCONT, previous)


def leave_within(seconds: float, code: int, explain: Callable[[], None] = lambda: None) -> None:
    """Exit with ``code`` after ``seconds`` in any case, and ``explain`` it before.

    Writing to a terminal that is gone can block, and a thread of a plugin may never end.
    """

    def leave() -> None:
        time.sleep(seconds)
        explain()
        os._exit(code)

    threading.Thread(target=leave, name="hotload-leave", daemon=True).start()


def is_drawn_elsewhere() -> bool:
    """Return whether another driver than that of a terminal draws, such as that of a browser."""
    return "TEXTUAL_DRIVER" in os.environ


def give_size() -> None:
    """Make the console follow the size of its terminal, and set 24x80 on a terminal that reports 0x0.

    Serial lines report 0x0, and the console would be drawn on them again and again. COLUMNS and LINES, which
    a shell may export, would fix the size, so this function removes them from the environment.
    """
    if is_drawn_elsewhere():
        return
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    try:
        import termios
    except ImportError:  # not on every system
        return
    try:
        streams = [each for each in (sys.__stderr__, sys.__stdout__) if each and each.isatty()]
        descriptor = streams[0].fileno() if streams else -1
        rows, columns = termios.tcgetwinsize(descriptor)
        if not (rows and columns):
            termios.tcsetwinsize(descriptor, (rows or _SIZE[0], columns or _SIZE[1]))
    except (OSError, ValueError, termios.error):
        return  # no terminal, or a terminal whose size cannot be set
