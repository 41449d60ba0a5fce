"""``%load_ext hotload_tui``: plugins in IPython and Jupyter.

``%hotload plugins/`` starts a manager, ``%hotload`` shows its plugins, and ``%hotload --stop`` ends it.
Managers, snapshots, statuses and faults are shown as tables and tracebacks. IPython itself is not imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final, Protocol, TypeVar

from hotload_tui.core.config_files import load_config
from hotload_tui.core.errors import HotloadError
from hotload_tui.core.events import AnyEvent, PluginFailed
from hotload_tui.core.faults import trace_text
from hotload_tui.core.hooks.host import HookHost
from hotload_tui.core.manager.manager import HotloadManager
from hotload_tui.core.model import Fault, PluginStatus, Snapshot

_T = TypeVar("_T")

STOP: Final = "--stop"


class Formatter(Protocol):
    """IPython's formatter of one MIME type."""

    def for_type(self, typ: type[_T], func: Callable[[_T], str] | None, /) -> object:
        """Show the objects of a type with a function; ``None`` keeps the present one."""

    def pop(self, typ: type, default: object, /) -> object:
        """Forget the function of a type."""


class Display(Protocol):
    """IPython's formatters by MIME type."""

    @property
    def formatters(self) -> Mapping[str, Formatter]:
        """The formatters."""


class Shell(Protocol):
    """The part of IPython's shell that the extension uses."""

    user_ns: dict[str, object]

    @property
    def display_formatter(self) -> Display:
        """Shows the values of cells."""

    def register_magic_function(
        self, func: Callable[[str], object], /, magic_kind: str, magic_name: str
    ) -> None:
        """Make ``%magic_name`` call a function with the rest of the line."""


class Session:
    """The manager of one IPython session."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._manager: HotloadManager | None = None

    def hotload(self, line: str) -> HotloadManager | Snapshot | None:
        """Start a manager on a folder, show its plugins (without arguments), or stop it (``--stop``).

        The session gets the names ``host`` and ``manager``.
        """
        folder = line.strip()
        try:
            if folder == STOP:
                self.stop()
            elif folder:
                return self._start(Path(folder))
            elif self._manager is None:
                _say("no plugins are loaded: name their folder, as in %hotload plugins/")
            else:
                return self._manager.snapshot()
        except HotloadError as error:
            _say(str(error))
        return None

    def stop(self) -> None:
        """Stop the manager, if one runs, and unload its plugins."""
        manager, self._manager = self._manager, None
        if manager is not None:
            manager.stop()

    def _start(self, folder: Path) -> HotloadManager:
        config = load_config(runtime_dir=folder)
        self.stop()
        host = HookHost()
        manager = HotloadManager(host, config)
        manager.subscribe(_tell)
        manager.scan()  # raises for a missing folder
        self._manager = manager
        manager.start()
        self._shell.user_ns.update(host=host, manager=manager)
        return manager


def _tell(event: AnyEvent) -> None:
    if isinstance(event, PluginFailed):
        _say(f"{event.name}: {event.describe()}\n{trace_text(event.fault)}")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


_sessions: list[Session] = []


def load_ipython_extension(shell: Shell) -> None:
    """Add ``%hotload`` and the tables to a session; IPython calls it for ``%load_ext hotload_tui``."""
    session = Session(shell)
    _sessions.append(session)
    shell.register_magic_function(session.hotload, magic_kind="line", magic_name="hotload")
    html = shell.display_formatter.formatters["text/html"]
    html.for_type(HotloadManager, lambda manager: table(manager.snapshot().plugins))
    html.for_type(Snapshot, lambda snapshot: table(snapshot.plugins))
    html.for_type(PluginStatus, lambda status: table([status]))
    html.for_type(Fault, trace)


def unload_ipython_extension(shell: Shell) -> None:
    """Stop the manager and forget the tables; IPython calls it for ``%unload_ext hotload_tui``."""
    while _sessions:
        _sessions.pop().stop()
    html = shell.display_formatter.formatters["text/html"]
    for kind in (HotloadManager, Snapshot, PluginStatus, Fault):
        html.pop(kind, None)


_HEADS: Final = ("state", "plugin", "generation", "digest", "hooks", "fault")


def table(statuses: Sequence[PluginStatus]) -> str:
    """Return statuses as an HTML table, each fault as a traceback with the source as it was loaded."""
    rows = [_row("th", map(escape, _HEADS)), *(_row("td", _cells(status)) for status in statuses)]
    return f"<table>{''.join(rows)}</table>"


def trace(fault: Fault) -> str:
    """Return a fault as a traceback in HTML."""
    return f"<pre>{escape(trace_text(fault))}</pre>"


def _cells(status: PluginStatus) -> Iterable[str]:
    points = ", ".join(f"{place.point} ({place.priority})" for place in status.points)
    generation = str(status.generation or "")
    yield from map(escape, (status.sign, status.name, generation, status.digest[:12], points))
    yield trace(status.fault) if status.fault else ""


def _row(tag: str, cells: Iterable[str]) -> str:
    inner = "".join(f"<{tag} style='text-align: left'>{cell}</{tag}>" for cell in cells)
    return f"<tr>{inner}</tr>"
