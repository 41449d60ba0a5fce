"""Commands that change plugins: in the running host if there is one, else on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hotload_tui.cli import output, report
from hotload_tui.cli.scope import Scope, choose, manager_of_command, scanned, shared_options
from hotload_tui.core.config import Config
from hotload_tui.core.directories import SIMPLE, TEMPLATES, oddity
from hotload_tui.core.errors import NotFoundError, UsageError, near
from hotload_tui.core.model import PluginStatus

if TYPE_CHECKING:
    from hotload_tui import HotloadManager
    from hotload_tui.cli.scope import Manager


@shared_options(host=True)
@click.command()
@click.argument("name")
@click.option(
    "--template",
    default=SIMPLE,
    show_default=True,
    type=click.Choice(list(TEMPLATES)),
    help="What it begins as; 'simple' is plugins/TEMPLATE.py where there is one.",
)
@click.pass_obj
def new(scope: Scope, name: str, template: str) -> int:
    """Make a plugin from a template, and a test that it passes; prints its folder."""
    config = scope.settings(of_host=True)
    manager = scope.reach(config) or _scanned_if_there(config)
    existing = [status for status in manager.snapshot().plugins if status.name == name]
    if existing:
        output.narrate(f"{name} exists already; nothing was changed")
    status = existing[0] if existing else manager.new(name, template)
    if not existing and (odd := oddity(name)):
        output.narrate(odd)
    output.standard().line(_place(manager, status))
    return report.verdict([status])


@shared_options(host=True)
@click.command()
@click.argument("name")
@click.pass_obj
def enable(scope: Scope, name: str) -> int:
    """Switch a plugin on (_NAME becomes NAME)."""
    manager = _manager(scope)
    status = manager.enable(name)
    output.narrate(f"{name} is enabled ({_place(manager, status)})")
    return report.verdict([status])


@shared_options(host=True)
@click.command()
@click.argument("name")
@click.pass_obj
def disable(scope: Scope, name: str) -> int:
    """Switch a plugin off (NAME becomes _NAME)."""
    manager = _manager(scope)
    status = manager.disable(name)
    output.narrate(f"{name} is disabled ({_place(manager, status)})")
    return 0


@shared_options(host=True)
@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="The artifacts of all plugins.")
@click.pass_obj
def clean(scope: Scope, names: tuple[str, ...], *, everything: bool) -> int:
    """Remove artifacts; what runs goes on running."""
    if everything == bool(names):
        raise UsageError("name the plugins whose artifacts are to go, or say --all")
    manager = _manager(scope)
    removed = manager.clean() if everything else sum(manager.clean(name) for name in dict.fromkeys(names))
    output.narrate("1 artifact was removed" if removed == 1 else f"{removed} artifacts were removed")
    return 0


@shared_options(host=True)
@click.command("reload")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.pass_obj
def reload(scope: Scope, names: tuple[str, ...]) -> int:
    """Build and load plugins anew in the running host, changed or not."""
    manager = scope.reach_running("reload")
    plugins = choose(manager.snapshot().plugins, names)
    if not plugins:
        raise NotFoundError("the host has no plugins; 'hotload new NAME' makes one")
    statuses = [
        status
        for plugin in (plugins if names else [None])
        for status in manager.rebuild(plugin.name if plugin else None, force=True)
    ]
    report.show(statuses)
    return report.verdict(statuses)


@shared_options(host=True)
@click.command()
@click.pass_obj
def undo(scope: Scope) -> int:
    """Take back the last enable, disable or clean in the running host."""
    output.narrate(f"undone: {scope.reach_running('undo').undo()}")
    return 0


@shared_options(host=True)
@click.command()
@click.argument("name")
@click.argument("generation", type=click.IntRange(min=1))
@click.pass_obj
def rollback(scope: Scope, name: str, generation: int) -> int:
    """Let an earlier generation serve again in the running host, and hold the plugin there."""
    manager = scope.reach_running("rollback")
    status = manager.rollback(name, generation)
    output.narrate(
        f"{name} is {status.held}, as generation {status.generation}; 'hotload release {name}' ends that"
    )
    return 0


@shared_options(host=True)
@click.command()
@click.argument("name")
@click.pass_obj
def release(scope: Scope, name: str) -> int:
    """Let a plugin that is HELD follow its source again, in the running host."""
    manager = scope.reach_running("release")
    was_held = any(one.name == name and one.held for one in manager.snapshot().plugins)
    status = manager.release(name)
    report.show([status])
    if not was_held:
        output.narrate(f"{name} was not held: it follows its source")
    return report.verdict([status])


@shared_options(host=True)
@click.command()
@click.pass_obj
def pause(scope: Scope) -> int:
    """Keep what is saved from now on for 'hotload resume', in the running host; commands work as ever."""
    scope.reach_running("pause").pause()
    output.narrate("paused: changes are kept; 'hotload resume' applies them, 'hotload reload' one of them")
    return 0


@shared_options(host=True)
@click.command()
@click.pass_obj
def resume(scope: Scope) -> int:
    """Apply what changed since 'hotload pause' in the running host, and follow saves again."""
    statuses = scope.reach_running("resume").resume()
    report.show(statuses)
    if not statuses:
        output.narrate("nothing had changed")
    return report.verdict(statuses)


def _scanned_if_there(config: Config) -> HotloadManager:
    if Path(config.runtime_dir).exists():
        return scanned(config)
    return manager_of_command(config)  # the first plugin creates the folder


def _manager(scope: Scope) -> Manager:
    config = scope.settings(of_host=True)
    return scope.reach(config) or scanned(config)


def _place(manager: Manager, status: PluginStatus) -> str:
    """Return the plugin's folder as seen from this process: the host may have another working directory."""
    return near(str(Path(manager.snapshot().host.runtime_dir, Path(status.path).name)))
