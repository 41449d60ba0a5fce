"""A host that keeps functions of plugins and calls them, as a web framework does with its routes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import cast

from tests.conftest import Running, Workspace
from tests.waiting import PATIENCE

GIVES = "def register(ctx):\n    ctx.hook('give', lambda: {})\n\n\n"
VIEW = GIVES.format("view") + "def view():\n    return 'answer'\n"
"""A plugin whose hook returns a function."""


class Route:
    """A host's route, which keeps a function of a plugin."""

    def __init__(self, view: object) -> None:
        self.view = cast("Callable[[], object]", view)


routes: list[Route] = []


def route_page() -> None:
    """Call the functions that the routes keep."""
    for route in routes:
        route.view()


class Caller:
    """A thread of the host that calls a function again and again."""

    def __init__(self, function: Callable[[], object] = route_page) -> None:
        self._function = function
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="caller")
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(0.01):
            self._function()

    def stop(self) -> None:
        """End the thread."""
        self._end.set()
        self._thread.join(PATIENCE)


@contextlib.contextmanager
def old_plugin(workspace: Workspace, running: Running, name: str = "greet") -> Iterator[None]:
    """Keep the function of a plugin that ``VIEW`` is the source of, call it, and change the plugin."""
    routes.append(Route(running.host.first("give")))
    caller = Caller()
    try:
        workspace[name] = VIEW.replace("answer", "other")
        running.manager.rebuild(name)
        yield
    finally:
        caller.stop()
        routes.clear()
