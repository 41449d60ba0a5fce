"""``hotload attach``: the console on a host that runs already."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hotload_tui.cli import output
from hotload_tui.cli.scope import Scope, refuse_dumb_terminal, shared_options
from hotload_tui.cli.signals import GRACE
from hotload_tui.core.config_loader import FILE_NAME
from hotload_tui.core.errors import UsageError
from hotload_tui.tui.garbage import hold_off
from hotload_tui.tui.pace import quickened


@shared_options(host=True)
@click.command()
@click.argument("socket", required=False, type=click.Path(path_type=Path))
@click.pass_obj
def attach(scope: Scope, socket: Path | None) -> int:
    """Open the console on the running host, or on the one at SOCKET; leaving it leaves the host alone."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty()):
        raise UsageError("the console needs a terminal; 'hotload status' and 'hotload logs -f' need none")
    refuse_dumb_terminal()
    if socket is not None and scope.host is not None:
        raise UsageError("--host chooses among hosts, and SOCKET names one: leave one of them out")
    hold_off()  # no plugin runs in this process
    from hotload_tui.remote import RemoteManager  # the console: 200 ms that no other command pays

    with quickened():
        from hotload_tui.tui.app import ConsoleApp
    from hotload_tui.tui.keys import check_keys
    from hotload_tui.tui.system import give_size

    config = scope.settings(of_host=True)
    check_keys(config.keys, str(scope.config or FILE_NAME))
    with RemoteManager(socket) if socket else scope.reach_running("attach", config) as remote:
        runtime_dir = Path(remote.snapshot().host.runtime_dir)
        project = Path.cwd() if runtime_dir.is_relative_to(Path.cwd()) else runtime_dir.parent
        settings = None if socket else scope.read  # a program's own socket: its settings are its own
        give_size()
        app = ConsoleApp(remote, project=project, keys=config.keys, settings=settings)
        app.run()
        code = app.return_code or 0
        output.leave_within(GRACE, code)
    return code
