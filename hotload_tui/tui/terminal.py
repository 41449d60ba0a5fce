"""The console's terminal and process: signals, size, painting rate, garbage, text without UTF-8.

``hold_off`` and ``settle`` are only for a process in which no plugin runs: garbage of plugins is to be found.
"""

from __future__ import annotations

import contextlib
import gc
import os
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
    """Have Textual, imported within, paint what a key did at its next look, every 8 ms instead of 17.

    A user's own choice stands. A console in which nothing happens is painted no more often than before.
    """
    if _NAME in os.environ:
        yield
        return
    os.environ[_NAME] = "120"
    try:
        yield
    finally:
        del os.environ[_NAME]  # neither plugins nor editors are to have it


_is_held_off = threading.Event()


def hold_off() -> None:
    """Look for no garbage until ``settle``: while modules are imported hardly anything becomes garbage."""
    _is_held_off.set()
    gc.disable()


def settle() -> None:
    """Look for garbage again, but never again through what is there now; nothing without ``hold_off``.

    A look through a thousand rows and all modules stops the screen for a tenth of a second, and finds next
    to nothing: most is freed when the last reference goes, as ever.
    """
    if _is_held_off.is_set():
        _is_held_off.clear()
        gc.freeze()
        gc.enable()


_SHAPES: Final = {
    **dict.fromkeys("─━┄┅┈┉╌╍═╴╶╸╺╼╾\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),  # and dashes
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
    "↑": "^",
    "↓": "v",
    "µ": "u",
}
_LINES: Final = range(0x2500, 0x2580)


class _Ascii(dict[int, str]):
    """What stands for each character, by its number: as many cells as the character takes."""

    def __missing__(self, number: int) -> str:
        self[number] = found = _ascii(chr(number))
        return found


ASCII: Final[Mapping[int, str]] = _Ascii()
"""For ``str.translate``; control characters and ASCII stay what they are."""


def speaks_utf8(environment: Mapping[str, str]) -> bool:
    """Tell whether text in UTF-8 can be shown; so it is believed where nothing says otherwise.

    The first of these that is set counts, as POSIX has it: ``LC_ALL``, ``LC_CTYPE``, ``LANG``.
    """
    names = (environment.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    wanted = next(filter(None, names), "")
    language, _, rest = wanted.partition("@")[0].partition(".")
    coding = rest or language  # macOS has a locale that is called UTF-8
    return not wanted or coding.replace("-", "").casefold() == "utf8"


def _ascii(character: str) -> str:
    if character.isascii():
        return character
    if character in _SHAPES:
        return _SHAPES[character]
    if ord(character) in _LINES:
        return "+"
    from rich.cells import get_character_cell_size  # a host without a console does not need it

    cells = get_character_cell_size(character)
    letters = "".join(filter(str.isascii, unicodedata.normalize("NFKD", character)))
    return letters if len(letters) == cells else "?" * cells


CODES: Final[Mapping[str, int]] = {"SIGTERM": 0, "SIGHUP": 0, "SIGINT": 130}
"""Signals that end the console, with its exit codes: those of ``hotload run``."""

_SIZE: Final = (24, 80)
"""Rows and columns of a terminal that does not tell them."""


def hear_signals(end: Callable[[int], None], limit: float) -> Callable[[], None]:
    """Call ``end`` with an exit code when the system asks for an end; where there are such signals.

    ``limit`` seconds later the process exits in any case. A handler of the loop's own would not be called
    while the thread waits for a terminal that is gone.

    Returns:
        What ends this: signals are again for who heard them before.

    """
    import asyncio  # the console has imported it; a host without one does not need it

    loop = asyncio.get_running_loop()
    heard: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def hear(number: int, _frame: FrameType | None) -> None:
        code = CODES[signal.Signals(number).name]
        leave_within(limit, code)
        loop.call_soon_threadsafe(end, code)

    def give_back() -> None:
        for number, handler in heard.items():
            if signal.getsignal(number) is hear:  # else a plugin has it now
                signal.signal(number, handler)

    with contextlib.suppress(AttributeError, ValueError):  # not on every system; not the main thread
        for name in CODES:
            number = getattr(signal, name)
            heard[number] = signal.signal(number, hear)
    return give_back


@contextlib.contextmanager
def lent_terminal(app: App[None]) -> Iterator[None]:
    """Have the console step aside; nothing may be raised inside, or the terminal would not be taken back.

    What plugins print goes on to the log, not into what is on the screen now; ``batch_update`` keeps repaints
    from filling the writer's queue, which nobody empties.
    """
    out, err = sys.stdout, sys.stderr
    with app.suspend(), app.batch_update(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


def has_shell() -> bool:
    """Tell whether a shell could continue this job: what runs in its session's first group has none below."""
    try:
        return os.getpgrp() != os.getsid(0)
    except AttributeError:  # not on every system
        return False


def stop_job() -> None:
    """Stop the whole job until its shell continues it: it may have begun with another program, like make."""
    # Textual's own handler would begin to draw, too, perhaps a moment later than who called this.
    heard = signal.signal(signal.SIGCONT, signal.SIG_IGN)
    os.killpg(0, signal.SIGSTOP)
    signal.signal(signal.SIGCONT, heard)


def leave_within(seconds: float, code: int) -> None:
    """Exit with ``code`` after ``seconds``, come what may: writing to a terminal that is gone can block."""

    def leave() -> None:
        time.sleep(seconds)
        os._exit(code)

    threading.Thread(target=leave, name="hotload-leave", daemon=True).start()


def give_size() -> None:
    """Have the console, which is made after this, follow the size of its terminal.

    One that says 0x0, as serial lines do, would be drawn again and again, and what a shell exports as COLUMNS
    and LINES stays as it is.
    """
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    try:
        import termios
    except ImportError:  # not on every system
        return
    try:
        descriptor = sys.__stderr__.fileno() if sys.__stderr__ else -1
        rows, columns = termios.tcgetwinsize(descriptor)
        if not (rows and columns):
            termios.tcsetwinsize(descriptor, (rows or _SIZE[0], columns or _SIZE[1]))
    except (OSError, ValueError, termios.error):
        return  # no terminal, or one that cannot be told
