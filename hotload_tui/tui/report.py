"""The report of a failure, for an issue: plain text, or Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from hotload_tui.core.plugin import HostStatus, PluginDetail, PluginStatus
from hotload_tui.tui.fault_text import FaultOptions, fault_text
from hotload_tui.tui.text import clean, clean_line, count

LINES: Final = 20
"""Log lines at the end."""
_WIDE: Final = 100


class Report(NamedTuple):
    """What there is to report."""

    status: PluginStatus
    host: HostStatus
    detail: PluginDetail | None
    lines: Sequence[str]
    """The newest lines of the log."""
    project: Path

    def plain(self) -> str:
        """Return it as plain text."""
        parts = [f"hotload report: {clean_line(self.status.name, 200)} is {self.status.state}"]
        parts += [f"  {label:<11} {value}" for label, value in self._facts()]
        for title, lines in self._sections():
            parts += ["", f"--- {title}", *lines]
        return clean("\n".join(parts))

    def markdown(self) -> str:
        """Return it as Markdown."""
        parts = [f"### {_escaped(clean_line(self.status.name, 200))} is {self.status.state}", ""]
        parts += ["| | |", "|---|---|"]
        parts += [f"| {label} | {_escaped(value)} |" for label, value in self._facts()]
        for title, lines in self._sections():
            fence = _fence(lines)
            parts += ["", f"**{title}**", "", f"{fence}text", *lines, fence]
        return clean("\n".join(parts))

    def _facts(self) -> Iterator[tuple[str, str]]:
        status, host = self.status, self.host
        yield "hotload", f"{host.version}, Python {host.python}"
        yield (
            "running",
            f"{clean_line(status.digest) or 'nothing'} (generation {status.generation or 'none'})",
        )
        yield "on disk", clean_line(status.source_digest) or "unknown"
        if status.held:
            yield "held", clean_line(status.held, 300)
        fault = status.fault
        if fault is not None:
            at = datetime.fromtimestamp(fault.at, tz=UTC)
            yield "failed", f"in {fault.phase}, {at:%Y-%m-%d %H:%M:%S} UTC"
        for file in self.detail.files if self.detail else ():
            yield "file", f"{clean_line(file.path, 200)} {file.sha256[:12]}, {count(file.size, 'byte')}"

    def _sections(self) -> Iterator[tuple[str, Sequence[str]]]:
        fault = self.status.fault
        if fault is None:
            yield "traceback", ("there is none: the plugin has no fault",)
        else:
            options = FaultOptions(self.project, _WIDE, folded=False)
            yield "traceback", fault_text(self.status, fault, "", options).plain.split("\n")
        newest = self.lines[-LINES:]
        yield f"last {count(len(newest), 'log line')}", newest


def _escaped(text: str) -> str:
    for sign in "\\`*_[]<>|#":
        text = text.replace(sign, f"\\{sign}")
    return text


def _fence(lines: Iterable[str]) -> str:
    """Return a fence that no line ends by accident."""
    fence = "```"
    while any(fence in line for line in lines):
        fence += "`"
    return fence
