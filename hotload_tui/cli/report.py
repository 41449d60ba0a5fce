"""What a command found out: the data, the faults behind it, and the exit code."""

from __future__ import annotations

from collections.abc import Sequence

from hotload_tui.cli import output, text
from hotload_tui.cli.records import plugins_record
from hotload_tui.core.errors import HotloadError
from hotload_tui.core.plugin import PluginStatus


def show(statuses: Sequence[PluginStatus], *, as_json: bool = False) -> None:
    """Print plugins on standard output: a table, or one JSON object."""
    if as_json:
        output.standard().record(plugins_record(statuses))
        return
    for line in text.table(statuses):
        output.standard().line(output.printable(line))


def verdict(statuses: Sequence[PluginStatus]) -> int:
    """Tell on standard error what failed, and return the exit code."""
    failed = [status for status in statuses if text.is_failed(status)]
    for status in failed:
        if status.fault is not None:
            for line in text.fault_lines(status.fault):
                output.narrate(line)
    return HotloadError.exit_code if failed else 0
