"""``hotload logs``: what the running host has to say."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import click

from hotload_tui.cli import output, text
from hotload_tui.cli.scope import Scope, shared_options
from hotload_tui.core.discovery import unknown
from hotload_tui.core.errors import NoHostError
from hotload_tui.core.events import AnyEvent, HostLost, HostReached

if TYPE_CHECKING:
    from hotload_tui.remote import RemoteManager


@shared_options(host=True)
@click.command()
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines, until interrupted.")
@click.pass_obj
def logs(scope: Scope, name: str | None, *, follow: bool) -> int:
    """Print the running host's log, or the lines about one plugin."""
    printer = _Printer(scope.reach_running("logs"), name)
    if follow:
        printer.follow()
    else:
        printer.check()
        printer.print_new()
    return 0


class _Printer:
    """Prints lines once each."""

    def __init__(self, remote: RemoteManager, name: str | None) -> None:
        self._remote = remote
        self._name = name
        self._data = output.standard()
        self._last = 0
        self._lost = 0
        self._news = threading.Event()
        self._has_new_host = threading.Event()

    def check(self) -> None:
        """Refuse a name that is neither a plugin's nor in the log.

        Raises:
            UnknownPluginError: it is not; the text says which is nearest.

        """
        if self._name is None or any(line.plugin == self._name for line in self._remote.log()):
            return
        names = [plugin.name for plugin in self._remote.snapshot().plugins]
        if self._name not in names:
            raise unknown(self._name, names)

    def follow(self) -> None:
        """Print until nobody reads any more; a host that is gone is waited for."""
        self._remote.subscribe(self._hear)
        self.check()
        while self.print_new():
            self._news.wait()
            self._news.clear()

    def print_new(self) -> bool:
        """Print what came since the last time; return whether somebody still reads."""
        if self._has_new_host.is_set():  # its numbers begin anew
            self._has_new_host.clear()
            self._last = 0
        try:
            lines = self._remote.log(self._last)
        except NoHostError:
            if not self._last:
                raise
            return True
        for line in lines:
            self._last = line.number
            if self._name in (None, line.plugin) and not self._data.line(
                output.printable(text.log_line(line))
            ):
                return False
        return True

    def _hear(self, event: AnyEvent) -> None:
        if isinstance(event, HostLost):
            self._lost = event.pid
            output.narrate(f"{event.describe()}; waiting for the next one")
        elif isinstance(event, HostReached):
            if event.pid != self._lost:
                self._has_new_host.set()
            output.narrate(event.describe())
        self._news.set()
