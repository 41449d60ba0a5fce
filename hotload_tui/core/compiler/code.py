"""A file of a plugin becomes code, or an error that says where and why not."""

from __future__ import annotations

import ast
import io
import itertools
import marshal
import re
import sys
import tokenize
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

from hotload_tui.core.artifact import Entry
from hotload_tui.core.compiler.live_reads import live_reads
from hotload_tui.core.compiler.outside import LARGE, Compiled, compiled_outside
from hotload_tui.core.errors import CompileError
from hotload_tui.core.plugin import encodable
from hotload_tui.core.source import ENTRY, Source, SourceFile, decoded

_LARGEST = 4 << 20  # bytes of a Python file; compiling more stalls the whole process for seconds
_HEAD = r"(?:[ \t]*(?:#[^\n\r\f\0]*)?\n)*"  # empty lines and comments
# What begins with a decorator, or a word and a space, has no docstring.
_NO_TEXT = re.compile(_HEAD + r"(?:@|[A-Za-z_]\w*[ \t])")
_PLAIN_TEXT = re.compile(_HEAD + r'"""([^"\\\t\r\f\0]*)"""[ \t]*(?:#[^\n\r\f\0]*)?(?:\n|\Z)')
_STAR = ("*",)  # the constant that `from x import *` leaves in compiled code


def is_module(path: str) -> bool:
    """Tell whether a file of a plugin can be imported: Python source whose path is made of identifiers."""
    stem, dot, suffix = path.rpartition(".")
    return bool(dot) and suffix == "py" and all(part.isidentifier() for part in stem.split("/"))


def compiled(source: Source, file: SourceFile) -> Entry:
    """Return the file with its code and what the compiler said about it; raises ``CompileError``."""
    file_name = str(Path(source.root, file.path))
    problem, line = _unfit(file)
    if problem:
        raise CompileError(source.name, f"{file.path} {problem}", file=file_name, line=line)
    found = compiled_outside(file.content, file_name) if len(file.content) >= LARGE else None
    found = found or _compiled_here(source.name, file, file_name)
    if file.path == ENTRY and not _may_bind(found.code, "register"):
        message = f"{ENTRY} defines no register; add: def register(ctx) -> None: ..."
        raise CompileError(source.name, message, file=file_name, line=1)
    said = [f"{file.path}:{line}: {category}: {text}" for line, category, text in found.warnings]
    said += [*_shadowing(file.path), *live_reads(file)]
    return Entry(file.path, file.content, file.sha256, found.marshalled, tuple(said))


def _unfit(file: SourceFile) -> tuple[str, int]:
    """Say what keeps a Python file from being compiled at all, and in which line; empty when nothing does."""
    if len(file.content) > _LARGEST:
        size = f"has {len(file.content):,} bytes"
        return f"{size}; Python files over {_LARGEST:,} are not compiled: move its data to a data file", 0
    if file.path == ENTRY and not file.content.strip():
        # A file caught in mid-save is empty for a moment, and compiles without complaint.
        return "is empty; define register(ctx) in it", 1
    if b"\0" in file.content:
        line = file.content.partition(b"\0")[0].count(b"\n") + 1
        return f"has a NUL byte in line {line}; save it as UTF-8 text", line
    return "", 0


def _compiled_here(plugin: str, file: SourceFile, file_name: str) -> Compiled:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        code = _code(plugin, file, file_name)
    said = tuple((w.lineno, w.category.__name__, str(w.message)) for w in caught)
    return Compiled(code, marshal.dumps(code), said)


def _code(plugin: str, file: SourceFile, file_name: str) -> CodeType:
    try:
        return compile(file.content, file_name, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise CompileError(plugin, f"{file.path} does not compile", file=file_name) from _placed(
            error, file, file_name
        )
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise CompileError(plugin, f"{file.path} does not compile", file=file_name) from error


def _placed(error: SyntaxError, file: SourceFile, file_name: str) -> SyntaxError:
    """Return the error with columns in characters of the line that was compiled.

    The interpreter takes the line from the disk, where another may stand by now, and counts bytes where it
    finds none; so it is asked again, with the text, under a name that no file has.
    """
    try:
        compile(decoded(file.content), f"<{file.path}>", "exec", dont_inherit=True)
    except SyntaxError as again:
        if again.msg == error.msg:
            error = again
    line = error.lineno = max(1, error.lineno or 1)  # a wrong coding cookie is said to be in line 0
    error.filename = file_name
    if error.text is None:  # found after parsing: columns are bytes then
        text = io.StringIO(decoded(file.content)).readlines()[line - 1 : line]
        raw = "".join(text).encode()
        for name in ("offset", "end_offset"):
            column = getattr(error, name)
            if column:
                setattr(error, name, len(raw[: max(0, column - 1)].decode(errors="replace")) + 1)
    return error.with_traceback(None)


def _may_bind(code: CodeType, name: str) -> bool:
    """Tell whether running ``code`` can bind ``name`` by a definition, assignment, import or ``*``.

    Also true for code that only reads the name: that is found out when it has run.
    """
    return (
        name in code.co_names
        or _STAR in code.co_consts
        or any(_may_bind(inner, name) for inner in code.co_consts if isinstance(inner, CodeType))
    )


def _shadowing(path: str) -> Iterator[str]:
    name = path.removesuffix(".py").removesuffix("/__init__")
    if name in sys.stdlib_module_names:
        yield f"{path}: `import {name}` is the standard library's; `from . import {name}` is this one"


def description_of(content: bytes) -> str:
    """Return the first line of a Python file's docstring, also if it does not compile; empty for none."""
    text = decoded(content)
    if _NO_TEXT.match(text):  # parsing takes 0.4 of what compiling a small file does
        return ""
    plain = _PLAIN_TEXT.match(text)
    docstring = plain[1] if plain else _parsed_docstring(text)
    return encodable(next(iter(docstring.strip().splitlines()), ""))


def _parsed_docstring(text: str) -> str:
    try:
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        end = next(token.end[0] for token in tokens if token.type == tokenize.NEWLINE)
        # Only the first statement: whatever is wrong further down, the docstring can be read.
        first = "".join(itertools.islice(io.StringIO(text), end))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.get_docstring(ast.parse(first)) or ""
    except Exception:  # foreign code: whatever keeps it from being read, it has no description
        return ""
