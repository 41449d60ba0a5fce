"""``hotload doctor``: looks at the place where it stands, and says what to do."""

from __future__ import annotations

import json

import click
import msgspec

from hotload_tui.cli import output
from hotload_tui.cli.scope import Scope, shared_options
from hotload_tui.core.config_loader import Setting
from hotload_tui.core.errors import ConfigError


@shared_options(host=False)
@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one object: findings and settings.")
@click.pass_obj
def doctor(scope: Scope, *, as_json: bool) -> int:
    """Examine Python, folders, watcher and terminal, and tell where each setting came from.

    A line is "ok", a "note", or says what to "do"; the exit code is 1 if something is to be done.
    """
    from hotload_tui.doctor import examine, examine_broken  # the engine: not for --help

    scope.refuse_host("doctor")
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
