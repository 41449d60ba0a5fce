"""Commands that show, check and call plugins, and change none."""

from __future__ import annotations

import json
import re
import shlex
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from msgspec import structs

from hotload_tui.cli import output, report
from hotload_tui.cli.report import call_record
from hotload_tui.cli.scope import Scope, choose, command, scanned
from hotload_tui.core.config_files import Setting
from hotload_tui.core.directories import unknown
from hotload_tui.core.errors import ConfigError, HotloadError, NoHostError, NotFoundError, UsageError, nearest
from hotload_tui.core.events import AnyEvent, HostLost, HostReached
from hotload_tui.core.faults import is_claimed_twice
from hotload_tui.core.model import Fault, Invocation, PluginStatus, Snapshot

if TYPE_CHECKING:
    from hotload_tui.core.config import Config
    from hotload_tui.remote import RemoteManager

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_NAMES = click.argument("names", nargs=-1, metavar="[NAME]...")
_LOOKS_LIKE_JSON = re.compile(r"""\s*(\{\s*".*|\{.*\}|\[.*\]|".*")\s*""", re.DOTALL)
_KEYWORD = re.compile(r"([^\W\d]\w*)=(?!=)(.*)", re.DOTALL)  # x==1 is text


@command(host=True)
@_NAMES
@_JSON
@click.option("--prometheus", is_flag=True, help="Print the host's figures for Prometheus.")
def status(scope: Scope, names: tuple[str, ...], *, as_json: bool, prometheus: bool) -> int:
    """Show the plugins of the running host; without a host, the plugins on disk."""
    if prometheus:
        return _print_metrics(scope, is_alone=not (names or as_json))
    config = scope.settings(of_host=True)
    remote = scope.reach(config)
    snapshot = (remote or scanned(config)).snapshot()
    statuses = choose(snapshot.plugins, names)
    if remote is None:
        output.narrate(f"no host runs on {report.folder(config.runtime_dir)}; this is the state on disk")
    else:
        output.narrate(f"host {snapshot.host.pid} on {report.folder(snapshot.host.runtime_dir)}")
        if snapshot.watcher.trouble:
            output.narrate(f"watcher: {snapshot.watcher.trouble}")
        if snapshot.watcher.paused:
            waiting = ", ".join(snapshot.watcher.waiting) or "nothing"
            output.narrate(f"paused; changed since: {waiting}; 'hotload resume' applies it")
    report.show(statuses, as_json=as_json)
    for plugin in () if as_json else statuses:
        if plugin.fault is not None:
            fault = plugin.fault
            output.narrate(f"{plugin.name}: {report.brief(fault, plugin.generation)}")
            if fault.call:
                output.narrate(f"  called as {fault.call}")
            lacks = fault.missing_module or fault.missing_program
            for note in fault.notes if lacks or is_claimed_twice(fault) else ():
                output.narrate(f"  note: {note}")
        for remark in report.remarks(plugin):
            output.narrate(f"{plugin.name}: {remark}")
    return 0


def _print_metrics(scope: Scope, *, is_alone: bool) -> int:
    from hotload_tui import prometheus_text  # not imported for --help

    if not is_alone:
        raise UsageError("--prometheus prints all figures of the host, and takes neither a NAME nor --json")
    text = prometheus_text(scope.reach_running("status --prometheus"))
    output.standard().write(text.encode("utf-8", "backslashreplace"))
    return 0


@command(host=True)
@click.argument("name", required=False)
@_JSON
def plan(scope: Scope, name: str | None, *, as_json: bool) -> int:
    """Show what a rebuild would do now, and why, without changing anything or running a plugin's code.

    With NAME, this is 'hotload reload NAME', which also compiles the unchanged files again. Without NAME,
    these are the plugins that changed or have a fault, as R in the console loads them; 'hotload reload'
    loads all. Without a running host, show what a start would do. The exit code is 1 if some of it cannot be
    applied.
    """
    config = scope.settings(of_host=True)
    remote = scope.reach(config)
    if remote is None:
        manager = scanned(config)
        output.narrate(f"no host runs on {report.folder(config.runtime_dir)}; this is what a start would do")
        chosen = {each.name for each in choose(manager.snapshot().plugins, [name] if name else [])}
        found = manager.plan()
        found = structs.replace(found, plugins=tuple(each for each in found.plugins if each.name in chosen))
    else:
        found = remote.plan(name)
    if as_json:
        output.standard().record(found)
    else:
        for line in found.lines():
            output.standard().line(output.printable(line))
    return 0 if found.can_be_applied else HotloadError.exit_code


@command(host=False)
@_NAMES
def build(scope: Scope, names: tuple[str, ...]) -> int:
    """Compile the named plugins, or all that are enabled, without loading them."""
    config = scope.settings()
    manager = scanned(config)
    plugins = _some(manager.snapshot(), names, config)
    if names:
        statuses = [built for plugin in plugins for built in manager.build(plugin.name)]
    else:
        statuses = list(manager.build())
    report.show(statuses)
    return report.verdict(statuses)


@command(host=False)
@_NAMES
@_JSON
@click.option("--tests", is_flag=True, help="Also run the tests of each plugin that loads.")
def check(scope: Scope, names: tuple[str, ...], *, as_json: bool, tests: bool) -> int:
    """Compile and load plugins in a separate process; exit 1 if any plugin fails."""
    from hotload_tui.cli.trial import tested, try_all  # not imported for --help

    config = scope.settings()
    plugins = _some(scanned(config).snapshot(), names, config)
    statuses = try_all(plugins, config, scope.as_arguments())
    if tests:
        statuses = [tested(status, config) for status in statuses]
    report.show(statuses, as_json=as_json)
    for each in () if as_json else statuses:
        if each.reload == "replace":
            output.narrate(
                f'{each.name}: reload = "replace": its live version leaves before a new one is tried'
            )
    return report.verdict(statuses)


class _Call(click.Command):
    """Accepts a negative number as an argument, and still refuses unknown options."""

    ignore_unknown_options = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for arg in args:
            if arg == "--":
                break
            name = arg.partition("=")[0]
            known = [option for parameter in self.params for option in parameter.opts]
            if arg.startswith("-") and name not in [*known, "--help", "-h"] and isinstance(_value(arg), str):
                raise click.NoSuchOption(name, possibilities=known, ctx=ctx)
        return super().parse_args(ctx, args)


@command(_Call, host=True)
@click.argument("point")
@click.argument("args", nargs=-1, metavar="[ARG]...")
@_JSON
def call(scope: Scope, point: str, args: tuple[str, ...], *, as_json: bool) -> int:
    """Call a hook point in the running host; without a host, load the plugins for this call.

    An ARG that parses as JSON is passed as JSON, and any other ARG as text. NAME=ARG is a keyword argument;
    to pass such a text itself, write it as JSON: '"NAME=ARG"'.
    """
    config = scope.settings(of_host=True)
    with output.take_standard() as data:
        values, keywords = _arguments(args)
        remote = scope.reach(config)
        if remote is not None:
            invocation, snapshot = _call_there(remote, point, values, keywords)
            for plugin in () if invocation.seconds else snapshot.plugins:
                _report_failed(plugin)
        else:
            invocation, snapshot = _call_here(config, point, values, keywords)
        if as_json:
            data.record(call_record(invocation))
        else:
            for value in invocation.values:
                data.line(value if isinstance(value, str) else output.json_bytes(value).decode())
    for fault in invocation.faults:
        for line in report.fault_lines(fault):
            output.narrate(line)
    code = HotloadError.exit_code if invocation.faults else 0
    if not invocation.seconds:
        code = _no_answer(point, snapshot)
    return code


@command(host=True, hidden=True)
@click.argument("names", nargs=-1, required=True)
@click.option("--trace", type=click.Path(path_type=Path), required=True)
@click.option("--parent", type=int, required=True)
def trial(scope: Scope, names: tuple[str, ...], trace: Path, parent: int) -> int:
    """Load plugins for ``check``, which starts this command, and report each step to it."""
    from hotload_tui.cli.trial import run_trial  # not imported for --help

    run_trial(scope.resolved().config, names, trace, parent)  # the parent process prints the warnings
    return 0


_DEATH_SEEN = 5.0  # seconds within which a console has recorded why its host ended
_PAUSE = 0.02  # seconds


def _call_there(
    remote: RemoteManager, point: str, values: list[object], keywords: dict[str, object]
) -> tuple[Invocation, Snapshot]:
    """Call a hook point of the running host; if the call ends the host, that is a fault of a plugin."""
    before, began = remote.snapshot(), time.time()
    try:
        return remote.invoke(point, *values, **keywords), remote.snapshot()
    except NoHostError as error:
        if _answers(remote):  # it only took too long
            raise
        called = [each.plugin for place in before.points if place.point == point for each in place.handlers]
        faults = _deaths(called, Path(before.host.compiled_dir), began)
        if not faults:
            raise NoHostError(f"the host ended during the call of {', '.join(called)}: {error}") from error
        return Invocation((), faults, (time.time() - began,)), before


def _answers(remote: RemoteManager) -> bool:
    try:
        remote.snapshot()
    except NoHostError:
        return False
    return True


def _deaths(plugins: list[str], compiled_dir: Path, since: float) -> tuple[Fault, ...]:
    """Return the faults of these plugins for which a console has barred a version since then."""
    from hotload_tui.core.compiled import Record  # not imported for --help

    record, deadline = Record(compiled_dir), time.monotonic() + _DEATH_SEEN
    while True:
        record.read()
        barred = filter(None, map(record.barred, dict.fromkeys(plugins)))
        found = tuple(each.fault for each in barred if each.fault.at >= since)
        if found or time.monotonic() > deadline:
            return found
        time.sleep(_PAUSE)


def _call_here(
    config: Config, point: str, values: list[object], keywords: dict[str, object]
) -> tuple[Invocation, Snapshot]:
    from hotload_tui import HookHost, HotloadManager  # not imported for --help
    from hotload_tui.core.runtime.threads import MainTrials

    trials = MainTrials() if hasattr(signal, "setitimer") else None  # as in ``run``
    manager = HotloadManager(HookHost(), structs.replace(config, enable_watch=False), trials=trials)
    manager.scan()  # raises for a missing folder; start() would wait for it
    try:
        manager.start()
        snapshot = manager.snapshot()
        for plugin in snapshot.plugins:
            _report_failed(plugin)
        return manager.invoke(point, *values, **keywords), snapshot
    finally:
        manager.stop()


def _no_answer(point: str, snapshot: Snapshot) -> int:
    """Report that no plugin answered; return the exit code."""
    known = [place.point for place in snapshot.points if place.handlers]
    hint = nearest(point, known) or "no hook point has a handler"
    output.narrate(f'no plugin answers at hook point "{point}"; {hint}')
    failed = any(map(report.is_failed, snapshot.plugins))
    return HotloadError.exit_code if failed else NotFoundError.exit_code


def _report_failed(plugin: PluginStatus) -> None:
    if plugin.fault is not None and report.is_failed(plugin):
        output.narrate(f"{plugin.name} failed: {report.brief(plugin.fault)}")


def _arguments(args: tuple[str, ...]) -> tuple[list[object], dict[str, object]]:
    values: list[object] = []
    keywords: dict[str, object] = {}
    for arg in args:
        keyword = _KEYWORD.fullmatch(arg)
        if keyword is None:
            values.append(_value(arg))
        elif keyword[1] in keywords:
            raise UsageError(f"'{arg}': {keyword[1]} is given twice")
        else:
            keywords[keyword[1]] = _value(keyword[2])
    return values, keywords


def _value(arg: str) -> object:
    try:
        value: object = msgspec.json.decode(arg)
    except (ValueError, RecursionError) as error:
        if _LOOKS_LIKE_JSON.fullmatch(arg):
            raise UsageError(
                f"'{arg}' is no JSON: {error}; to pass it as text, write it as a JSON text:"
                f" {shlex.quote(output.json_bytes(arg).decode())}"
            ) from None
        return arg
    return value


def _some(snapshot: Snapshot, names: tuple[str, ...], config: Config) -> list[PluginStatus]:
    plugins = choose(snapshot.plugins, names)
    if not plugins:
        raise NotFoundError(
            f"no plugins in {report.folder(config.runtime_dir)}; 'hotload new NAME' makes one"
        )
    return plugins


@command(host=True)
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Continue with new lines until interrupted.")
def logs(scope: Scope, name: str | None, *, follow: bool) -> int:
    """Print the running host's log, or only the lines about one plugin."""
    printer = _Printer(scope.reach_running("logs"), name)
    if follow:
        printer.follow()
    else:
        printer.check()
        printer.print_new()
    return 0


class _Printer:
    """Prints each line of the log once."""

    def __init__(self, remote: RemoteManager, name: str | None) -> None:
        self._remote = remote
        self._name = name
        self._data = output.standard()
        self._last = 0
        self._lost = 0
        self._news = threading.Event()
        self._has_new_host = threading.Event()
        self._is_alone = threading.Event()

    def check(self) -> None:
        """Refuse a name that is neither a plugin nor in the log.

        Raises:
            UnknownPluginError: the name is unknown; the text suggests a similar name.

        """
        if self._name is None or any(line.plugin == self._name for line in self._remote.log()):
            return
        names = [plugin.name for plugin in self._remote.snapshot().plugins]
        if self._name not in names:
            raise unknown(self._name, names)

    def follow(self) -> None:
        """Print new lines until the reader has left; wait for a new host when the host is gone."""
        self._remote.subscribe(self._notice)
        self._data.when_reader_leaves(self._reader_left)
        self.check()
        while self.print_new() and not self._is_alone.is_set():
            self._news.wait()
            self._news.clear()

    def print_new(self) -> bool:
        """Print the new lines; return whether the reader is still there."""
        if self._has_new_host.is_set():  # the new host numbers its lines from 1
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
                output.printable(report.log_line(line))
            ):
                return False
        return True

    def _reader_left(self) -> None:
        self._is_alone.set()
        self._news.set()

    def _notice(self, event: AnyEvent) -> None:
        if isinstance(event, HostLost):
            self._lost = event.pid
            output.narrate(f"{event.describe()}; waiting for the next host")
        elif isinstance(event, HostReached):
            if event.pid != self._lost:
                self._has_new_host.set()
            output.narrate(event.describe())
        self._news.set()


@command(host=False)
@click.option("--json", "as_json", is_flag=True, help="Print one object: findings and settings.")
def doctor(scope: Scope, *, as_json: bool) -> int:
    """Examine Python, folders, watcher and terminal, and show the origin of each setting.

    Each line starts with "ok", "note" or "do" (something to fix). The exit code is 1 after a "do".
    """
    from hotload_tui.doctor import examine, examine_broken  # not imported for --help

    try:
        report = examine(scope.resolved())
    except ConfigError as error:
        report = examine_broken(error, scope.without_files())
    data = output.standard()
    if as_json:
        data.record(report)
    else:
        width = max(len(finding.subject) for finding in report.findings)
        for finding in report.findings:
            line = f"{finding.verdict:<4}  {finding.subject:<{width}}  {finding.text}"
            data.line(output.printable(line))
            if finding.advice:
                data.line(output.printable(f"{'':<4}  {'':<{width}}  -> {finding.advice}"))
        if report.settings:
            data.line("")
            _print_settings(report.settings, data)
    return 0 if report.is_fine else 1


def _print_settings(settings: tuple[Setting, ...], data: output.DataStream) -> None:
    rows = [
        (setting.key, json.dumps(msgspec.to_builtins(setting.value)), setting.source) for setting in settings
    ]
    key_width, value_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    for key, value, source in rows:
        data.line(output.printable(f"{key:<{key_width}} = {value:<{value_width}}  {source}"))
