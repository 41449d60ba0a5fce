"""All code that depends on private parts of Textual, and the drivers; written against Textual 8.2.8.

Each part has a fallback that uses public parts only, because another release may have other private parts;
``tests/tui/test_framework.py`` reports which parts it lacks.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping

from rich.text import Text
from textual._context import active_message_pump
from textual.actions import ActionParseResult
from textual.app import App
from textual.await_complete import AwaitComplete
from textual.command import CommandPalette
from textual.css.query import NoMatches
from textual.dom import DOMNode
from textual.driver import Driver
from textual.geometry import Size
from textual.message_pump import MessagePump
from textual.screen import Screen
from textual.scroll_view import ScrollView
from textual.suggester import Suggester
from textual.timer import Timer, TimerCallback
from textual.widget import Widget
from textual.widgets import DataTable, Input, OptionList
from textual.widgets.data_table import ColumnKey, RowKey
from textual.worker import WorkerFailed

from hotload_tui.tui.terminal import ASCII, speaks_utf8

if sys.platform != "win32":
    from textual.drivers.linux_driver import LinuxDriver

    class TidyDriver(LinuxDriver):
        """Clears the alternate screen before the console leaves it, also when the console is suspended."""

        def start_application_mode(self) -> None:
            """Draw on standard output if standard error is redirected, as in ``hotload 2>err.log``."""
            if sys.__stdout__ and not (sys.__stderr__ and sys.__stderr__.isatty()):
                self._file = sys.__stdout__
            super().start_application_mode()  # type: ignore[no-untyped-call] # by Textual

        def stop_application_mode(self) -> None:
            """Clear the screen and return the terminal to the shell or to an editor."""
            # If the window has grown, tmux wraps the rows at their old width, treats the excess as scrolled
            # off, and shows it among the shell's rows. Reset colours first: a coloured blank is not empty.
            self.write("\x1b[0m\x1b[2J")
            super().stop_application_mode()

    class AsciiDriver(TidyDriver):
        """Replaces non-ASCII characters by ASCII that takes the same number of cells."""

        def write(self, data: str) -> None:
            """Translate ``data`` to ASCII and write it to the terminal."""
            super().write(data.translate(ASCII))


class Punctual(MessagePump):
    """Runs what ``set_timer`` plans, however late.

    Textual's timers leave out what is late already when they begin, as on a machine under load. A timer that
    repeats goes on, but one that runs once would never run.
    """

    def set_timer(
        self,
        delay: float,
        callback: TimerCallback | None = None,
        *,
        name: str | None = None,
        pause: bool = False,
    ) -> Timer:
        """Call a function once, after ``delay`` seconds."""
        timer = super().set_timer(delay, callback, name=name, pause=pause)
        timer._skip = False  # noqa: SLF001
        return timer


class PromptSuggester(Suggester):
    """Makes the coroutine of a search when the search begins.

    Textual makes it before; if the console ends first, Python reports on the terminal that it never ran.
    """

    def _get_suggestion(  # type: ignore[override]  # a worker takes a function, too
        self, requester: DOMNode, value: str
    ) -> Callable[[], Coroutine[object, object, None]]:
        return functools.partial(super()._get_suggestion, requester, value)


class OrderedApp(Punctual, App[None]):
    """Runs the actions of keys in their order, and prints a crash without secrets."""

    def get_driver_class(self) -> type[Driver]:
        """Return our driver on Unix (ASCII without UTF-8), unless the user chose another driver."""
        chosen = super().get_driver_class()
        if sys.platform == "win32":
            return chosen
        ours = TidyDriver if speaks_utf8(os.environ) else AsciiDriver
        return ours if issubclass(ours, chosen) else chosen

    async def _check_bindings(self, key: str, priority: bool = False) -> bool:  # noqa: FBT001, FBT002 - Textual's
        """Run the actions of keys in the order of arrival, except for keys typed into an input line.

        Otherwise a key goes to the pane that has the focus when the key arrives, and a key typed right after
        "3" would still reach the pane that had the focus before. A Textual without this method would process
        keys in that way.
        """
        if await super()._check_bindings(key, priority):
            return True
        if not priority or isinstance(self.focused, Input):
            return False
        return await super()._check_bindings(key)

    async def run_action(
        self,
        action: str | ActionParseResult,
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """Run an action; do nothing where Textual raises an error.

        It raises one for a page of a list that has no room, and for a key in a palette that has just closed.
        """
        try:
            return await super().run_action(action, default_namespace, namespaces)
        except (LookupError, NoMatches):
            if isinstance(default_namespace, (OptionList, CommandPalette)):
                return False
            raise

    @contextlib.contextmanager
    def own_context(self) -> Iterator[None]:
        """Act as the app's own code: a signal arrives in any context, and Textual's timers need the app's."""
        context = getattr(self, "_context", contextlib.nullcontext)
        with context():
            yield

    def pop_screen(self) -> AwaitComplete:
        """Close the dialog on top; do nothing for a dialog that has closed already, or without a dialog.

        A second click or key can reach a dialog that is about to go. Textual would close the screen below.
        """
        asking = active_message_pump.get(None)
        has_closed = isinstance(asking, Screen) and asking not in self.screen_stack
        if has_closed or len(self.screen_stack) == 1:
            return AwaitComplete()
        return super().pop_screen()

    def _handle_exception(self, error: Exception) -> None:
        """End the console because of an error; in Textual's palette, an error closes only the palette.

        A search may go on in a palette that has closed, and a click may reach an entry that has gone.
        """
        failed = error.error if isinstance(error, WorkerFailed) else None
        if isinstance(failed, NoMatches) and CommandPalette.__name__ in str(failed):
            return
        asking = active_message_pump.get(None)
        around = asking.ancestors_with_self if isinstance(asking, Widget) else ()
        if any(isinstance(each, CommandPalette) for each in around) and _is_of_textual(error):
            if isinstance(self.screen, CommandPalette):
                self.pop_screen()
            return
        super()._handle_exception(error)

    def _fatal_error(self) -> None:
        """Print the traceback of a bug in the console, without local variables: they may hold secrets."""
        from rich.segment import Segments
        from rich.traceback import Traceback  # a fifth of all imports, needed for a crash only

        trace = Traceback(show_locals=False, width=None)
        shown = Segments(self.console.render(trace, self.console.options))
        try:
            self._exit_renderables.append(shown)
            self._close_messages_no_wait()
        except AttributeError:
            App.exit(self, return_code=1, message=shown)


def _is_of_textual(error: BaseException) -> bool:
    """Return whether only Textual's code, and no code of the console, took part in an error."""
    modules = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    return not any(str(name).startswith("hotload_tui.") for name in modules)


def measure_again(widget: Widget) -> None:
    """Make Textual measure ``widget`` in the next layout; else it measures only the first of two layouts."""
    with contextlib.suppress(AttributeError):
        widget._layout_updates += 1  # noqa: SLF001


def put_cells(table: DataTable[Text], cells: Mapping[tuple[str, str], Text]) -> None:
    """Set cells, and keep the other rendered cells, which ``update_cell`` would discard.

    The keys of ``cells`` are the keys of row and column.
    """
    try:
        _put_cells(table, cells)
    except AttributeError:
        for (row, column), cell in cells.items():
            table.update_cell(row, column, cell)


def _put_cells(table: DataTable[Text], cells: Mapping[tuple[str, str], Text]) -> None:
    rendered = table._cell_render_cache  # noqa: SLF001
    for key in list(rendered.keys()):
        if (key[0].value, key[1].value) in cells:
            rendered.discard(key)
    for cache in (table._row_render_cache, table._row_renderable_cache, table._line_cache):  # noqa: SLF001
        cache.clear()
    for (row, column), cell in cells.items():
        table._data[RowKey(row)][ColumnKey(column)] = cell  # noqa: SLF001
        table.refresh_row(table.get_row_index(row))


def take_room(view: ScrollView, size: Size) -> None:
    """Set the virtual size; lay out the whole screen only if a scrollbar may appear or disappear."""
    if not view.show_vertical_scrollbar or size.height <= view.container_size.height:
        view.virtual_size = size
        return
    view.set_reactive(ScrollView.virtual_size, size)
    try:
        view._scroll_update(size)  # noqa: SLF001
    except AttributeError:
        view.refresh(layout=True)
