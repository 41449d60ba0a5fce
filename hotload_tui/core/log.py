"""The host's log: numbered lines, bounded, from events and from what plugins log."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from hotload_tui.core.plugin import PLUGIN_LOGGER, Level, LogLine, encodable

ENGINE_LOGGER = "hotload.engine"
"""Where hotload's own rooms complain."""
EVENT_LOGGER = "hotload.events"
"""Where a program that configures logging reads what happened to its plugins."""

_KEPT = 5000  # lines
_LONGEST = 4096  # characters of one line


class HostLog:
    """Keeps the newest lines."""

    def __init__(self) -> None:
        self._lines: deque[LogLine] = deque(maxlen=_KEPT)
        self._number = 0
        self._lock = threading.Lock()

    def add(self, at: float, level: Level, plugin: str, text: str) -> LogLine:
        """Add a line, cut to a bearable length, and return it."""
        with self._lock:
            self._number += 1
            line = LogLine(self._number, at, level, plugin, encodable(text[:_LONGEST]))
            self._lines.append(line)
        return line

    def since(self, number: int) -> tuple[LogLine, ...]:
        """Return the kept lines with a greater number."""
        with self._lock:
            return tuple(line for line in self._lines if line.number > number)


class LogCollector(logging.Handler):
    """Hands on what plugins log (``ctx.log``, loggers named after their modules), and hotload itself."""

    def __init__(
        self, module_path: str, write: Callable[[Level, str, str], None], plugin_of: Callable[[str], str]
    ) -> None:
        """Collect from the moment of ``attach``; ``write`` gets level, plugin and text.

        ``plugin_of`` tells which plugin an identifier in the name of a module stands for.
        """
        super().__init__(logging.DEBUG)
        self._module_path = module_path
        self._write = write
        self._plugin_of_module = plugin_of
        self._loggers = [logging.getLogger(name) for name in (PLUGIN_LOGGER, ENGINE_LOGGER, module_path)]
        self._emitting = threading.local()

    def attach(self) -> Callable[[], None]:
        """Begin to collect; returns the undo."""
        levels = [source.level for source in self._loggers]
        for source in self._loggers:
            source.addHandler(self)
            if source.level == logging.NOTSET:
                source.setLevel(logging.INFO)

        def detach() -> None:
            for source, level in zip(self._loggers, levels, strict=True):
                source.removeHandler(self)
                source.setLevel(level)

        return detach

    def emit(self, record: logging.LogRecord) -> None:
        """Hand on one record; what is logged because of that very line would go round for ever."""
        if getattr(self._emitting, "now", False):
            return
        self._emitting.now = True
        try:
            self._write(_level(record.levelno), self._plugin_of(record.name), _text(record))
        finally:
            self._emitting.now = False

    def _plugin_of(self, logger_name: str) -> str:
        if logger_name.startswith(f"{PLUGIN_LOGGER}."):
            return logger_name.removeprefix(f"{PLUGIN_LOGGER}.")
        if logger_name.startswith(f"{self._module_path}."):
            return self._plugin_of_module(logger_name.split(".")[1])
        return ""


def _text(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text += f" ({record.exc_info[0].__name__}: {record.exc_info[1]})"
    except Exception as error:  # foreign code: arguments that cannot be formatted
        shown = record.msg if type(record.msg) is str else f"<{type(record.msg).__name__}>"
        return f"{shown} (cannot be formatted: {type(error).__name__})"
    return text


def _level(number: int) -> Level:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"
