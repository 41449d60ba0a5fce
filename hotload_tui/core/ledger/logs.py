"""Handlers, filters, formatters and levels of loggers."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Hashable
from typing import cast

from hotload_tui.core.ledger.owner import name_of
from hotload_tui.core.ledger.register import MISSING, Entries, Register

_BYTES = 100  # of an artifact that are searched for all words while one logger is read
_MOST = 1 << 17  # bytes that are searched


class Logging(Register):
    """What is set on all loggers, where it is not what a new one has; those of plugins go with them."""

    category = "logging"
    words = (
        "addHandler", "removeHandler", "addFilter", "removeFilter", "setFormatter", "setLevel", "propagate",
        "basicConfig", "dictConfig", "fileConfig", "handlers", "level",
    )  # fmt: skip

    clues = ("Handler", "handlers", "Filter", "Formatter", "Level", "level", "propagate", "Config")

    def __init__(self, is_plugins: Callable[[object], bool]) -> None:
        """Put back the formatter that a handler had when it was no plugin's."""
        self._is_plugins = is_plugins
        self._formatters: weakref.WeakKeyDictionary[logging.Handler, logging.Formatter] = (
            weakref.WeakKeyDictionary()
        )

    @property
    def searched(self) -> int:  # noqa: D102 - as Register
        return min(_BYTES * len(logging.root.manager.loggerDict), _MOST)

    def read(self) -> Entries:  # noqa: D102 - as Register
        found: Entries = {}
        for name, logger in _set_loggers():
            if logger.level:
                found[name, "level", 0] = logger.level
            if not logger.propagate:
                found[name, "propagate", 0] = logger.propagate
            for condition in logger.filters:
                found[name, "filter", id(condition)] = condition
            for handler in logger.handlers:
                found[name, "handler", id(handler)] = handler
                if handler.formatter is not None:
                    found[name, "formatter", id(handler)] = handler.formatter
                    if not self._is_plugins(handler.formatter):
                        self._formatters[handler] = handler.formatter
                for condition in handler.filters:
                    found[name, "filter of a handler", id(condition)] = condition
        return found

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        name, kind, number = cast("tuple[str, str, int]", key)
        logger = logging.getLogger(name)
        match kind:
            case "level":
                logger.setLevel(0 if value is MISSING else cast("int", value))
            case "propagate":
                logger.propagate = value is MISSING or bool(value)
            case "handler":
                _replace(logger.handlers, number, value)
            case "filter":
                _replace(logger.filters, number, value)
            case _:
                self._write_on_handlers(logger, kind, number, value)

    def tell(self, key: Hashable, value: object) -> str:  # noqa: D102 - as Register
        name, kind, _ = cast("tuple[str, str, int]", key)
        return f"{kind} {name_of(value)} of logger '{name or 'root'}'"

    def _write_on_handlers(self, logger: logging.Logger, kind: str, number: int, value: object) -> None:
        for handler in logger.handlers:
            if kind == "filter of a handler":
                _replace(handler.filters, number, value)
            elif id(handler) == number:
                before = self._formatters.get(handler) if value is MISSING else value
                handler.formatter = cast("logging.Formatter | None", before)


def _set_loggers() -> list[tuple[str, logging.Logger]]:
    """Return the loggers that are not as new, which of thousands are few."""
    loggers = ("", logging.getLogger()), *logging.Logger.manager.loggerDict.copy().items()
    return [
        (name, logger)
        for name, logger in loggers
        if isinstance(logger, logging.Logger)
        and (logger.handlers or logger.filters or logger.level or not logger.propagate)
    ]


def _replace(items: object, number: int, value: object) -> None:
    """Take out the item of this identity, or put it back."""
    things = cast("list[object]", items)
    things[:] = [item for item in things if id(item) != number] + ([] if value is MISSING else [value])
