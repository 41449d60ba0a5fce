"""An exception becomes a ``Fault``: plain data with the source as it was loaded.

Nothing of the plugin is executed on the way: values are described by their type unless they are plain
built-in ones, and texts of exceptions are taken behind a fence.
"""

from __future__ import annotations

import itertools
import linecache
import reprlib
import site
import sysconfig
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, Literal

from hotload_tui.core.errors import PluginError
from hotload_tui.core.plugin import Fault, Frame, Owner, Phase

TextOf = Callable[[str], str | None]
"""Gives the text of a source file as it was compiled, or ``None`` for files that it does not know."""

_CONTEXT = 7  # lines kept on both sides of the failing one
_NEWEST, _OLDEST = 40, 20  # frames kept of a deep recursion
_MESSAGE = 4096  # characters
_LOCALS = 30  # names per frame
_SECRETS = ("password", "passwd", "token", "secret", "key", "auth", "cookie", "credential", "signature")
_PACKAGE = __name__.partition(".")[0]
_LIBRARIES: Final = tuple(
    {
        str(Path(path).resolve())
        for path in (*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages())
        if path and path != sysconfig.get_paths().get("data")
    }
)


class _SafeRepr(reprlib.Repr):
    """Representations of built-in values; of all others only the type, so that no foreign code runs."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 80

    def repr1(self, x: object, level: int) -> str:
        plain = (int, float, complex, bool, str, bytes, type(None))
        nested = (list, tuple, dict, set, frozenset)
        if type(x) in plain or type(x) in nested:
            return super().repr1(x, level)
        kind = type(x)
        return f"<{kind.__module__}.{kind.__qualname__} object>"


_safe_repr = _SafeRepr().repr


def fault_of(
    error: BaseException, *, phase: Phase, plugin: str, module_path: str, text_of: TextOf = lambda _: None
) -> Fault:
    """Describe ``error``, raised in ``phase`` of ``plugin``.

    A ``PluginError`` that was raised from an exception of the plugin's stands for that exception. Modules
    below ``module_path`` belong to plugins; ``text_of`` knows sources that were compiled but never executed.
    """
    if isinstance(error, PluginError) and error.__cause__ is not None:
        error = error.__cause__
    return _Describer(phase, plugin, f"{module_path}.", text_of).describe(error, "", set())


class _Describer:
    """Walks one exception with its causes."""

    def __init__(self, phase: Phase, plugin: str, prefix: str, text_of: TextOf) -> None:
        self._phase = phase
        self._plugin = plugin
        self._prefix = prefix
        self._text_of = text_of
        self._at = time.time()

    def describe(
        self, error: BaseException, relation: Literal["", "cause", "context", "member"], seen: set[int]
    ) -> Fault:
        seen.add(id(error))
        frames, left_out = _shortened(list(self._frames(error.__traceback__)))
        place = self._place_of(error)
        notes = [*_notes(error)]
        if left_out:
            notes.append(f"{left_out} frames of a deep recursion are left out")
        return Fault(
            phase=self._phase,
            plugin=self._plugin,
            type=type(error).__qualname__,
            message=_message(error),
            at=self._at,
            notes=tuple(notes),
            frames=(*frames, place) if place else tuple(frames),
            causes=tuple(self._causes(error, seen)),
            relation=relation,
        )

    def _causes(self, error: BaseException, seen: set[int]) -> Iterator[Fault]:
        related: list[tuple[BaseException | None, Literal["cause", "context", "member"]]] = []
        if isinstance(error, BaseExceptionGroup):
            related = [(member, "member") for member in error.exceptions]
        if error.__cause__ is not None or error.__suppress_context__:
            related.append((error.__cause__, "cause"))
        else:
            related.append((error.__context__, "context"))
        for other, relation in related:
            if other is not None and id(other) not in seen:
                yield self.describe(other, relation, seen)

    def _frames(self, trace: TracebackType | None) -> Iterator[Frame]:
        while trace is not None:
            module = trace.tb_frame.f_globals.get("__name__", "")
            if not _is_machinery(module if type(module) is str else ""):
                yield self._frame(trace)
            trace = trace.tb_next

    def _frame(self, trace: TracebackType) -> Frame:
        code = trace.tb_frame.f_code
        owner = self._owner(trace.tb_frame)
        line, end_line, column, end_column = _position(trace)
        text = self._text(trace.tb_frame) if owner == "plugin" else None
        lines = text_lines(text) if text is not None else linecache.getlines(code.co_filename)
        excerpt, first = _excerpt(lines, line, _CONTEXT if owner == "plugin" else 0)
        failing = lines[line - 1] if 0 < line <= len(lines) else ""
        ending = lines[end_line - 1] if 0 < end_line <= len(lines) else ""
        return Frame(
            file=code.co_filename,
            line=line,
            function=code.co_qualname,
            owner=owner,
            end_line=end_line,
            column=_characters(failing, column),
            end_column=_characters(ending, end_column),
            lines=excerpt,
            first_line=first,
            locals=_locals(trace.tb_frame) if owner == "plugin" else (),
        )

    def _owner(self, frame: FrameType) -> Owner:
        module = frame.f_globals.get("__name__", "")
        if type(module) is str and module.startswith(self._prefix):
            return "plugin"
        file = frame.f_code.co_filename
        return "library" if file.startswith(("<frozen", *_LIBRARIES)) else "host"

    def _text(self, frame: FrameType) -> str | None:
        """Return the source as this very frame's module was loaded, whatever is on disk now."""
        loader = frame.f_globals.get("__loader__")
        get_source = getattr(loader, "get_source", None)
        if get_source is None or frame.f_code.co_filename != frame.f_globals.get("__file__"):
            return self._text_of(frame.f_code.co_filename)
        text = get_source(frame.f_globals["__name__"])
        return text if type(text) is str else None

    def _place_of(self, error: BaseException) -> Frame | None:
        """Return the place that an exception names by itself, without a traceback leading there."""
        if isinstance(error, PluginError):
            return self._bare(error.file, error.line) if error.file else None
        if not isinstance(error, SyntaxError) or not error.filename:
            return None
        line = error.lineno or 0
        frame = self._bare(error.filename, line)
        if error.offset is None or error.offset < 1:
            return frame
        return Frame(
            file=frame.file,
            line=line,
            function="",
            owner="plugin",
            end_line=error.end_lineno or line,
            column=error.offset - 1,
            end_column=max(error.offset, (error.end_offset or 0) - 1),
            lines=frame.lines,
            first_line=frame.first_line,
        )

    def _bare(self, file: str, line: int) -> Frame:
        # A SyntaxError's own text was read from disk when it was raised; this is what was compiled.
        excerpt, first = _excerpt(text_lines(self._text_of(file) or ""), line, _CONTEXT)
        return Frame(file=file, line=line, function="", owner="plugin", lines=excerpt, first_line=first)


def text_lines(text: str) -> list[str]:
    """Split source text into lines as the tokenizer does (``splitlines`` also splits at form feeds)."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _is_machinery(module: str) -> bool:
    """Tell whether a frame belongs to loading and calling itself, as those that Python leaves out."""
    return module.startswith((f"{_PACKAGE}.core", "importlib._bootstrap"))


def _shortened(frames: list[Frame]) -> tuple[list[Frame], int]:
    if len(frames) <= _OLDEST + _NEWEST:
        return frames, 0
    return frames[:_OLDEST] + frames[-_NEWEST:], len(frames) - _OLDEST - _NEWEST


def _position(trace: TracebackType) -> tuple[int, int, int, int]:
    """Return line, end line, column and end column (bytes); 0 and -1 where unknown."""
    positions = trace.tb_frame.f_code.co_positions()
    line, end_line, column, end_column = next(
        itertools.islice(positions, trace.tb_lasti // 2, None), (None, None, None, None)
    )
    if line != trace.tb_lineno:
        return trace.tb_lineno or 0, 0, -1, -1
    return (
        line or 0,
        end_line or 0,
        -1 if column is None else column,
        -1 if end_column is None else end_column,
    )


def _characters(line: str, column: int) -> int:
    """Turn an offset in UTF-8 bytes into one in characters."""
    return column if column < 0 else len(line.encode()[:column].decode(errors="replace"))


def _excerpt(lines: list[str], line: int, context: int) -> tuple[tuple[str, ...], int]:
    if not 0 < line <= len(lines):
        return (), 1
    first = max(1, line - context)
    chosen = [text.rstrip("\n") for text in lines[first - 1 : line + context]]
    while len(chosen) > 1 and not chosen[-1].strip() and first + len(chosen) - 1 > line:
        chosen.pop()
    return tuple(chosen), first


def _locals(frame: FrameType) -> tuple[tuple[str, str], ...]:
    if frame.f_code.co_name == "<module>":
        return ()  # a module's namespace is its source
    names = itertools.islice(frame.f_locals.items(), _LOCALS)
    return tuple((str(name), _masked(str(name), value)) for name, value in names)


def _masked(name: str, value: object) -> str:
    if any(secret in name.lower() for secret in _SECRETS):
        return "••• (masked)"
    return _safe_repr(value)


def _message(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return str(error.msg)
    try:
        text = str(error)
    except Exception as failure:  # foreign code: __str__ of the plugin's own exception
        return f"<its text cannot be shown: __str__ raised {type(failure).__qualname__}>"
    return text if len(text) <= _MESSAGE else f"{text[:_MESSAGE]}… ({len(text):,} characters)"


def _notes(error: BaseException) -> Iterator[str]:
    notes = getattr(error, "__notes__", ())
    if type(notes) is list:
        yield from (note[:_MESSAGE] for note in notes if type(note) is str)
    if isinstance(error, NameError | ImportError) and not isinstance(error, PluginError):
        yield from _suggestion(error)


def _suggestion(error: BaseException) -> Iterator[str]:
    """Yield the interpreter's "Did you mean", which it keeps out of the exception's own text."""
    try:
        described = traceback.TracebackException.from_exception(error, lookup_lines=False)
        lines = list(described.format_exception_only())
    except Exception:  # foreign code: parts of the exception are looked at
        return
    marker = "Did you mean"
    for line in lines:
        if marker in line:
            yield marker + line.partition(marker)[2].rstrip()
