"""Commands that change plugins.

``new``, ``enable``, ``disable`` and ``clean`` work on disk if no host runs; the others need a running host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hotload_tui.cli import output, report
from hotload_tui.cli.scope import Scope, choose, command, manager_of_command, scanned
from hotload_tui.core.api import roll_back
from hotload_tui.core.config import Config
from hotload_tui.core.config_files import FILE_NAME, database_of, plugin_tables, stored_layers
from hotload_tui.core.database import VALUES
from hotload_tui.core.directories import SIMPLE, TEMPLATES, oddity
from hotload_tui.core.errors import NotFoundError, UsageError, near
from hotload_tui.core.model import PluginState, PluginStatus

if TYPE_CHECKING:
    from hotload_tui import HotloadManager
    from hotload_tui.cli.scope import Manager


@command(host=True)
@click.argument("name")
@click.option(
    "--template",
    default=SIMPLE,
    show_default=True,
    type=click.Choice(TEMPLATES),
    help="The initial files; 'simple' uses plugins/TEMPLATE.py if it exists.",
)
def new(scope: Scope, name: str, template: str) -> int:
    """Create a plugin from a template, with a test that passes, and load it; print its path."""
    config = scope.settings(of_host=True)
    manager = scope.reach(config) or _scanned_if_there(config)
    status = manager.new(name, template)
    if odd := oddity(name):
        output.narrate(odd)
    output.standard().line(_place(manager, status))
    return report.verdict([status])


@command(host=True)
@click.argument("name")
def enable(scope: Scope, name: str) -> int:
    """Enable a plugin (_NAME becomes NAME) and load it; if it is enabled and HELD, release it."""
    manager = _manager(scope)
    held = _held(manager, [name])
    status = manager.enable(name)
    output.narrate(f"{name} is enabled ({_place(manager, status)})")
    _narrate_released(held, [status])
    return report.verdict([status])


@command(host=True)
@click.argument("name")
def disable(scope: Scope, name: str) -> int:
    """Unload a plugin and disable it (NAME becomes _NAME)."""
    manager = _manager(scope)
    status = manager.disable(name)
    output.narrate(f"{name} is disabled ({_place(manager, status)})")
    return 0


@command(host=True)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="The artifacts of all plugins.")
def clean(scope: Scope, names: tuple[str, ...], *, everything: bool) -> int:
    """Remove artifacts; live versions keep running."""
    if everything == bool(names):
        raise UsageError("name the plugins that lose their artifacts, or use --all")
    manager = _manager(scope)
    removed = manager.clean(*names)
    output.narrate("1 artifact was removed" if removed == 1 else f"{removed} artifacts were removed")
    return 0


@command(host=True)
@click.argument("names", nargs=-1, metavar="[NAME]...")
def reload(scope: Scope, names: tuple[str, ...]) -> int:
    """Compile and load plugins again in the running host, whether they changed or not.

    The plugins that require them load with them, in one swap. A NAME that is HELD is released. Without NAME,
    all plugins load again, except those that are disabled or HELD.
    """
    manager = scope.reach_running("reload")
    if not choose(manager.snapshot().plugins, names):
        raise NotFoundError("the host has no plugins; 'hotload new NAME' makes one")
    held = _held(manager, names)
    statuses = manager.rebuild(*names, force=True)
    report.show(statuses)
    _narrate_released(held, statuses)
    return report.verdict(statuses)


@command(host=True)
def undo(scope: Scope) -> int:
    """Undo the last enable, disable, clean or rollback in the running host."""
    output.narrate(f"undone: {scope.reach_running('undo').undo()}")
    return 0


@command(host=True)
@click.argument("name")
@click.argument("generation", type=click.IntRange(min=1))
def rollback(scope: Scope, name: str, generation: int) -> int:
    """Make an earlier generation live again in the running host, and hold the plugin there."""
    done = roll_back(scope.reach_running("rollback"), name, generation)
    output.narrate(f"{done}; 'hotload release {name}' ends that")
    return 0


@command(host=True)
@click.argument("name")
def release(scope: Scope, name: str) -> int:
    """Make a HELD plugin follow its source again, in the running host."""
    manager = scope.reach_running("release")
    held = _held(manager, [name])
    status = manager.release(name)
    report.show([status])
    if not held:
        why = "is disabled" if status.state is PluginState.OFF else "follows its source"
        output.narrate(f"{name} was not HELD: it {why}")
    return report.verdict([status])


@command(host=True)
def pause(scope: Scope) -> int:
    """Stop loading saves in the running host until 'hotload resume'; commands still work."""
    scope.reach_running("pause").pause()
    output.narrate("paused: hotload keeps changes; 'hotload resume' applies all, 'hotload reload NAME' one")
    return 0


@command(host=True)
def resume(scope: Scope) -> int:
    """Apply all changes since 'hotload pause' in the running host, and follow saves again."""
    statuses = scope.reach_running("resume").resume()
    report.show(statuses)
    if not statuses:
        output.narrate("nothing had changed")
    return report.verdict(statuses)


def _held(manager: Manager, names: Sequence[str]) -> dict[str, str]:
    """Return those of the plugins that are HELD, each with the reason."""
    return {each.name: each.held for each in manager.snapshot().plugins if each.name in names and each.held}


def _narrate_released(held: Mapping[str, str], statuses: Iterable[PluginStatus]) -> None:
    """Report the plugins that were HELD and are not any more."""
    for status in statuses:
        if status.name in held and not status.held:
            output.narrate(f"{status.name} was HELD ({held[status.name]}); it follows its source again")


def _scanned_if_there(config: Config) -> HotloadManager:
    if Path(config.runtime_dir).exists():
        return scanned(config)
    return manager_of_command(config)  # the first plugin creates the folder


def _manager(scope: Scope) -> Manager:
    config = scope.settings(of_host=True)
    return scope.reach(config) or scanned(config)


def _place(manager: Manager, status: PluginStatus) -> str:
    """Return the plugin's path as seen from this process: the host may have another working directory."""
    path = Path(status.path)
    return near(path if path.is_absolute() else Path(manager.snapshot().host.runtime_dir, path.name))


@command(host=False)
@click.argument("action", type=click.Choice(("init", "import")))
def database(scope: Scope, action: str) -> int:
    """Create the table for the settings of plugins ('init'), and copy them from the files to it ('import').

    'import' copies what a row can have from the [plugins.*] tables of hotload.toml, and replaces the rows of
    these plugins. Rows override the files.
    """
    files = stored_layers(scope.config)
    found = database_of(files)
    if found is None:
        example = 'url = "sqlite:///settings.db"'
        raise UsageError(
            f"no database is configured: add [database] {example} to {scope.config or FILE_NAME}"
        )
    made = found.make()
    output.narrate(f"{found.name}: the table is {'made' if made else 'there already'}")
    if action == "import":
        rows = {name: table for name, table in plugin_tables(files).items() if set(table) & set(VALUES)}
        found.put(rows)
        output.narrate(
            f"{found.name}: rows of {', '.join(rows) or 'no plugin: the files have no values for one'}"
        )
    return 0
