from __future__ import annotations

import ast
import contextvars
import functools
import gc
import importlib
import inspect
import pkgutil

import pytest
from rich.text import Text
from textual._context import active_app
from textual.app import App, ComposeResult
from textual.message_pump import MessagePump
from textual.scroll_view import ScrollView
from textual.suggester import Suggester
from textual.timer import Timer
from textual.widgets import DataTable

from hotload_tui import tui
from hotload_tui.tui import framework
from hotload_tui.tui.widgets.panes import Prompt
from tests.waiting import auntil

USED = {
    App: {
        "_check_bindings",
        "_close_messages_no_wait",
        "_context",
        "_exit_renderables",
        "_fatal_error",
        "_handle_exception",
    },
    DataTable: {"_cell_render_cache", "_data", "_line_cache", "_row_render_cache", "_row_renderable_cache"},
    ScrollView: {"_layout_updates", "_scroll_update"},
    Suggester: {"_get_suggestion"},
    Timer: {"_skip"},
}
"""The private parts that the module uses, by the class that has them."""


@functools.cache
def private_names(kind: type) -> set[str]:
    """Return the private methods that a class defines, and the private attributes of its ``self``."""
    nodes = list(ast.walk(ast.parse(inspect.getsource(kind))))
    methods = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    attributes = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    return {name for name in methods | attributes if name.startswith("_") and not name.endswith("__")}


def of_textual(kind: type) -> set[str]:
    """Return the private names of Textual's classes from which ``kind`` is derived."""
    bases = [base for base in kind.__mro__ if base.__module__.startswith("textual")]
    return set().union(*(private_names(base) for base in bases))


def test_private_parts_of_textual_are_used_in_one_module() -> None:
    """No other class has a private name that its Textual class has too, on purpose or by accident."""
    found = {}
    for module in pkgutil.walk_packages(tui.__path__, "hotload_tui.tui."):
        if module.name == framework.__name__:
            continue
        for kind in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(kind) and kind.__module__ == module.name and issubclass(kind, MessagePump):
                own = private_names(kind)
                if both := own & of_textual(kind):
                    found[kind.__name__] = both
    assert found == {}


def test_this_textual_has_all_private_parts() -> None:
    """No fallback is needed with the Textual that is installed."""
    assert {kind: names - of_textual(kind) for kind, names in USED.items()} == {kind: set() for kind in USED}


async def test_a_timer_that_a_signal_starts_runs_in_the_app() -> None:
    """What a signal starts in a foreign context runs, as a timer of the app."""
    ran: list[object] = []
    app = framework.OrderedApp()

    def on_signal() -> None:
        with app.own_context():
            app.set_timer(0.001, lambda: ran.append(active_app.get()))

    async with app.run_test():
        contextvars.Context().run(on_signal)
        await auntil(lambda: ran == [app])


class Asking(App[None]):
    """A line that completes what is typed."""

    def compose(self) -> ComposeResult:
        """Make the line."""
        yield Prompt(id="prompt")


@pytest.mark.filterwarnings("error")
async def test_a_console_that_ends_while_a_text_is_completed_reports_nothing() -> None:
    """A search for a completion that is cancelled before it begins is no warning on the terminal."""
    async with Asking().run_test() as pilot:
        prompt = pilot.app.query_one(Prompt)
        assert prompt.suggester is not None
        prompt.run_worker(prompt.suggester._get_suggestion(prompt, "te"))  # noqa: SLF001 - as Textual's line does
        pilot.app.workers.cancel_all()
    gc.collect()  # pytest reports the warning now


class Table(App[None]):
    """A table of one cell, without the caches of Textual's table."""

    def on_mount(self) -> None:
        """Make the table."""
        table = DataTable[Text]()
        self.mount(table)
        table.add_column("column", key="column")
        table.add_row(Text("before"), key="row")


async def test_without_private_parts_cells_are_set_in_the_public_way() -> None:
    """On a Textual with other caches, the table shows the same cells."""
    async with Table().run_test() as pilot:
        table = pilot.app.query_one(DataTable)
        cache = table._row_render_cache  # noqa: SLF001 - the part that another release may lack
        del table._row_render_cache  # noqa: SLF001
        framework.put_cells(table, {("row", "column"): Text("after")})
        table._row_render_cache = cache  # noqa: SLF001 - Textual itself needs it
        assert str(table.get_cell("row", "column")) == "after"
